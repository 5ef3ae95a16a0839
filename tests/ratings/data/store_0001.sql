-- a store as ftlab 0.1 (schema 0001) left it: three raters, two batches, revised, undone, flagged, revealed
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE assignment (
    assignment_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    rater_id TEXT NOT NULL,
    batch TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    repeat_no INTEGER NOT NULL,
    is_gold INTEGER NOT NULL,
    order_json TEXT NOT NULL,
    leased_until TEXT,
    created_utc TEXT NOT NULL,
    head_event_id TEXT,
    is_open INTEGER NOT NULL,
    PRIMARY KEY (assignment_id),
    CONSTRAINT assignment_once UNIQUE (task_id, rater_id, repeat_no),
    FOREIGN KEY (task_id) REFERENCES task (task_id) ON DELETE RESTRICT,
    FOREIGN KEY (rater_id) REFERENCES rater (rater_id) ON DELETE RESTRICT,
    FOREIGN KEY (batch) REFERENCES batch (name) ON DELETE RESTRICT
) STRICT;
INSERT INTO "assignment" VALUES('cefea7192d3327b3806babff703142cb','1a1e906c1e0b77429f0218a81c51ca2ef37ee6be2568349cfe2bdebc315f09ec','ann','first',1,0,0,'[1,0]',NULL,'2026-11-23T05:05:10.873892Z','event-000016',0);
INSERT INTO "assignment" VALUES('f7f33f06c1359ca4f188230f395f3e2a','e12b97831d453de57f9a732415f58aae75bb4c1b935097768847be20dee405f9','ann','first',2,0,0,'[0,1]',NULL,'2026-11-23T05:05:10.901477Z','event-000002',0);
INSERT INTO "assignment" VALUES('1879181e09a9b0ba913ca56a414f1085','3dd600a535e03df80c144200da2c2359c928cb0f46d5f079945d3767b8eb78d2','ann','first',3,0,0,'[1,0]',NULL,'2026-11-23T05:05:10.905284Z','event-000003',0);
INSERT INTO "assignment" VALUES('e8f622d02fd2d77b43105e03d918e007','b429e30d22130a20088942a218a223565161066be9288279d1493003202c0368','ann','first',4,0,0,'[1,0]',NULL,'2026-11-23T05:05:10.910424Z','event-000004',0);
INSERT INTO "assignment" VALUES('e80590aea4ea9df4f17e9e498f0b1ffd','551472d9fab01351b0012431a22722570d38b355da1cb8391f19dc8fbfac839e','ann','first',5,0,0,'[0,1]',NULL,'2026-11-23T05:05:10.914086Z','event-000005',0);
INSERT INTO "assignment" VALUES('5d0c46778f1861ed032fc33d09547e48','1a1e906c1e0b77429f0218a81c51ca2ef37ee6be2568349cfe2bdebc315f09ec','bob','first',1,0,0,'[0,1]',NULL,'2026-11-23T05:05:10.917427Z','event-000006',0);
INSERT INTO "assignment" VALUES('8e2d6eac111209da12f923e8829826df','e12b97831d453de57f9a732415f58aae75bb4c1b935097768847be20dee405f9','bob','first',2,0,0,'[1,0]',NULL,'2026-11-23T05:05:10.922072Z','event-000017',1);
INSERT INTO "assignment" VALUES('9aebca77885f84b1026782be1839adc0','3dd600a535e03df80c144200da2c2359c928cb0f46d5f079945d3767b8eb78d2','bob','first',3,0,0,'[1,0]',NULL,'2026-11-23T05:05:10.925351Z','event-000019',0);
INSERT INTO "assignment" VALUES('88a142a14bf204a75adb3116ad0530d4','b429e30d22130a20088942a218a223565161066be9288279d1493003202c0368','bob','first',4,0,0,'[0,1]',NULL,'2026-11-23T05:05:10.935589Z','event-000009',0);
INSERT INTO "assignment" VALUES('039b9a11d681ef91bcd2bf85c9505fd5','551472d9fab01351b0012431a22722570d38b355da1cb8391f19dc8fbfac839e','bob','first',5,0,0,'[0,1]',NULL,'2026-11-23T05:05:10.941601Z','event-000010',0);
INSERT INTO "assignment" VALUES('7d352967a4d2342323850dcce19664cd','1a1e906c1e0b77429f0218a81c51ca2ef37ee6be2568349cfe2bdebc315f09ec','gold','first',1,0,0,'[0,1]',NULL,'2026-11-23T05:05:10.955046Z','event-000011',0);
INSERT INTO "assignment" VALUES('7168575bc7f965b6082c115b97ed40db','e12b97831d453de57f9a732415f58aae75bb4c1b935097768847be20dee405f9','gold','first',2,0,0,'[1,0]',NULL,'2026-11-23T05:05:10.961000Z','event-000012',0);
INSERT INTO "assignment" VALUES('a27d9d4efad3e38e2146cad3952be5b8','3dd600a535e03df80c144200da2c2359c928cb0f46d5f079945d3767b8eb78d2','gold','first',3,0,0,'[1,0]',NULL,'2026-11-23T05:05:10.977250Z','event-000013',0);
INSERT INTO "assignment" VALUES('28b1f9273cc92bd46758d391a6898e04','b429e30d22130a20088942a218a223565161066be9288279d1493003202c0368','gold','first',4,0,0,'[1,0]',NULL,'2026-11-23T05:05:10.991794Z','event-000014',0);
INSERT INTO "assignment" VALUES('7462c73c1ffbcbd29c53ad591f7bea4a','551472d9fab01351b0012431a22722570d38b355da1cb8391f19dc8fbfac839e','gold','first',5,0,0,'[0,1]',NULL,'2026-11-23T05:05:10.998126Z','event-000015',0);
INSERT INTO "assignment" VALUES('453705c3010353379a8caa22bb2ec002','5d950d7b33ddea2039173fc24d7606b3690749e0effddf289b57496aa6acf730','ann','second',1,0,0,'[1,0]',NULL,'2026-11-23T05:05:11.051375Z','event-000020',0);
INSERT INTO "assignment" VALUES('c44ce4dfa5ed70ab17b332df18559aeb','3849eba20a3f6c9aa62bfc693a01b3fc04f1040b6d2f51a4ba80a73f794fb026','ann','second',2,0,0,'[1,0]',NULL,'2026-11-23T05:05:11.062553Z',NULL,1);
CREATE TABLE batch (
    name TEXT NOT NULL,
    mode TEXT NOT NULL,
    seed TEXT NOT NULL,
    settings_json TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (name),
    CONSTRAINT batch_mode CHECK (mode IN ('pair', 'single', 'rank', 'edit', 'dialogue'))
) STRICT;
INSERT INTO "batch" VALUES('first','pair','abc','{}','2026-11-23T05:05:10.828686Z');
INSERT INTO "batch" VALUES('second','pair','def','{}','2026-11-23T05:05:10.857649Z');
CREATE TABLE instruction (
    batch TEXT NOT NULL,
    version INTEGER NOT NULL,
    text TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (batch, version),
    FOREIGN KEY (batch) REFERENCES batch (name) ON DELETE RESTRICT
) STRICT;
INSERT INTO "instruction" VALUES('first',1,'Which is more helpful?','2026-11-23T05:05:10.829997Z');
INSERT INTO "instruction" VALUES('second',1,'','2026-11-23T05:05:10.858330Z');
CREATE TABLE quarantine (
    body_hash TEXT NOT NULL,
    event_id TEXT NOT NULL,
    body_json TEXT NOT NULL,
    reason TEXT NOT NULL,
    server_utc TEXT NOT NULL,
    PRIMARY KEY (body_hash)
) STRICT;
CREATE TABLE rater (
    rater_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (rater_id),
    CONSTRAINT rater_kind CHECK (kind IN ('person', 'simulated', 'judge', 'replay'))
) STRICT;
INSERT INTO "rater" VALUES('ann','person','2026-11-23T05:05:10.867333Z');
INSERT INTO "rater" VALUES('bob','person','2026-11-23T05:05:10.916697Z');
INSERT INTO "rater" VALUES('gold','judge','2026-11-23T05:05:10.953969Z');
CREATE TABLE rating_event (
    seq INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    assignment_id TEXT NOT NULL,
    rater_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    prev_event_id TEXT,
    choice TEXT,
    strength INTEGER,
    scores_json TEXT,
    comment TEXT NOT NULL,
    client_utc TEXT,
    client_mono_ms INTEGER,
    shown_ms INTEGER,
    server_utc TEXT NOT NULL,
    post_reveal INTEGER NOT NULL,
    replaced INTEGER NOT NULL,
    app_version TEXT NOT NULL,
    schema_version TEXT NOT NULL,
    session_id TEXT,
    body_hash TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    row_hash TEXT NOT NULL,
    PRIMARY KEY (seq),
    CONSTRAINT event_kind CHECK (kind IN ('rate', 'revise', 'undo', 'skip', 'flag')),
    CONSTRAINT event_choice CHECK (choice IN ('left', 'right', 'tie', 'both_bad')),
    CONSTRAINT event_strength CHECK (strength BETWEEN 0 AND 3),
    CONSTRAINT event_comment CHECK (length(comment) <= 20000),
    CONSTRAINT event_once UNIQUE (event_id),
    CONSTRAINT event_one_successor UNIQUE (prev_event_id),
    FOREIGN KEY (assignment_id) REFERENCES assignment (assignment_id) ON DELETE RESTRICT,
    FOREIGN KEY (rater_id) REFERENCES rater (rater_id) ON DELETE RESTRICT,
    FOREIGN KEY (prev_event_id) REFERENCES rating_event (event_id) ON DELETE RESTRICT
) STRICT;
INSERT INTO "rating_event" VALUES(1,'event-000001','cefea7192d3327b3806babff703142cb','ann','rate',NULL,'left',3,NULL,'remark 1','2026-11-23T01:00:00Z',NULL,400,'2026-11-23T05:05:10.897402Z',0,0,'0.1.0','0001','s1','8e87be74341ba71d9be37747b4ff27bab8f8a3f0151018b4e9bbfa38aff55bc9','0000000000000000000000000000000000000000000000000000000000000000','fe4b5686c778b0a4a8a5e30463369d532e2e5654f618e8a7090cb92c80256a52');
INSERT INTO "rating_event" VALUES(2,'event-000002','f7f33f06c1359ca4f188230f395f3e2a','ann','rate',NULL,'right',0,NULL,'remark 2','2026-11-23T01:00:00Z',NULL,800,'2026-11-23T05:05:10.903286Z',0,0,'0.1.0','0001','s1','5d93f68db4f345fd9b1a947aec442e89d59000312796869132fc56bb60d22a4c','fe4b5686c778b0a4a8a5e30463369d532e2e5654f618e8a7090cb92c80256a52','4d32995fa8a8bc2965ed3122c6cc93d6867045c809c309b3d224ca1860efaea4');
INSERT INTO "rating_event" VALUES(3,'event-000003','1879181e09a9b0ba913ca56a414f1085','ann','rate',NULL,'tie',0,NULL,'remark 3','2026-11-23T01:00:00Z',NULL,1200,'2026-11-23T05:05:10.906947Z',0,0,'0.1.0','0001','s1','9535041b2ce245b0323409cf5d7dc5a059b92ec09d2858a4a3c847653661db5d','4d32995fa8a8bc2965ed3122c6cc93d6867045c809c309b3d224ca1860efaea4','48f966bdc2eb5b1618f27d9032f62267640476d647b067404d9faafd2a1b4890');
INSERT INTO "rating_event" VALUES(4,'event-000004','e8f622d02fd2d77b43105e03d918e007','ann','rate',NULL,'both_bad',0,NULL,'remark 4','2026-11-23T01:00:00Z',NULL,1600,'2026-11-23T05:05:10.912159Z',0,0,'0.1.0','0001','s1','9cd24becf094e456362ef34984de0377847f3eebc251917e2ad64643120a2f0a','48f966bdc2eb5b1618f27d9032f62267640476d647b067404d9faafd2a1b4890','cd8364e873eeaa9dd05a8cffc190c8a30fcc9452776a642b39e47ebee2f61410');
INSERT INTO "rating_event" VALUES(5,'event-000005','e80590aea4ea9df4f17e9e498f0b1ffd','ann','skip',NULL,NULL,NULL,NULL,'remark 5','2026-11-23T01:00:00Z',NULL,2000,'2026-11-23T05:05:10.915572Z',0,0,'0.1.0','0001','s1','408e557f0fd499d96cec698aa26373ac2f201134b8c8a2fb69c271cbc02ff5df','cd8364e873eeaa9dd05a8cffc190c8a30fcc9452776a642b39e47ebee2f61410','d2906a2557fd282eb0eae63c38ca4c473b126372dff91285277842c760453ec8');
INSERT INTO "rating_event" VALUES(6,'event-000006','5d0c46778f1861ed032fc33d09547e48','bob','rate',NULL,'left',3,NULL,'remark 6','2026-11-23T01:00:00Z',NULL,2400,'2026-11-23T05:05:10.920312Z',0,0,'0.1.0','0001','s1','53f590e37445396b1ec7edaa1c3904ebb291d24a96639e9dc1c760c5729b5447','d2906a2557fd282eb0eae63c38ca4c473b126372dff91285277842c760453ec8','97179b91f71e524a04411df59893646c7123ab4c185694fd328641f6c77b2fba');
INSERT INTO "rating_event" VALUES(7,'event-000007','8e2d6eac111209da12f923e8829826df','bob','rate',NULL,'right',0,NULL,'remark 7','2026-11-23T01:00:00Z',NULL,2800,'2026-11-23T05:05:10.923495Z',0,0,'0.1.0','0001','s1','6061089ec7933ed32c55ac642d2e96ebdd5258d456efda19102ca57b4f94443d','97179b91f71e524a04411df59893646c7123ab4c185694fd328641f6c77b2fba','c92f410aadfa9b3c7077a90f11f328b447804e9e6d959a9de8716643311b4470');
INSERT INTO "rating_event" VALUES(8,'event-000008','9aebca77885f84b1026782be1839adc0','bob','rate',NULL,'tie',0,NULL,'remark 8','2026-11-23T01:00:00Z',NULL,3200,'2026-11-23T05:05:10.931089Z',0,0,'0.1.0','0001','s1','a3973860527fb947ed166d898e573a877b2224ea193d04bb50a4a79bde25aaba','c92f410aadfa9b3c7077a90f11f328b447804e9e6d959a9de8716643311b4470','4a0f0051b3096f4c4620ac4efe23f185caf81fae6471cfdafa459b34d12e0089');
INSERT INTO "rating_event" VALUES(9,'event-000009','88a142a14bf204a75adb3116ad0530d4','bob','rate',NULL,'both_bad',0,NULL,'remark 9','2026-11-23T01:00:00Z',NULL,3600,'2026-11-23T05:05:10.939612Z',0,0,'0.1.0','0001','s1','87325a5a03c082cefff63c7b41d465dbe51ca0abf05e182033f41f2fdf804269','4a0f0051b3096f4c4620ac4efe23f185caf81fae6471cfdafa459b34d12e0089','ec6b12d9cb0e13bf6f45bf83f44fdf9f3ec26f50b6d2452c9df5c9cfd1a15b16');
INSERT INTO "rating_event" VALUES(10,'event-000010','039b9a11d681ef91bcd2bf85c9505fd5','bob','skip',NULL,NULL,NULL,NULL,'remark 10','2026-11-23T01:00:00Z',NULL,4000,'2026-11-23T05:05:10.945605Z',0,0,'0.1.0','0001','s1','4041b3594415fd5029b8fb8bbd6519cadfc0e27ebda164c40418189e1938b1a3','ec6b12d9cb0e13bf6f45bf83f44fdf9f3ec26f50b6d2452c9df5c9cfd1a15b16','69177ca81a0111d6c18a959c975c7de662e87c318c76dcb9bb6627658c2a2b8c');
INSERT INTO "rating_event" VALUES(11,'event-000011','7d352967a4d2342323850dcce19664cd','gold','rate',NULL,'left',3,NULL,'remark 11','2026-11-23T01:00:00Z',NULL,4400,'2026-11-23T05:05:10.956754Z',0,0,'0.1.0','0001','s1','5bc0b0fc10e7f52a07217ba81b9cfc0e02e85833e3847a82526bd5fe7d4c0d22','69177ca81a0111d6c18a959c975c7de662e87c318c76dcb9bb6627658c2a2b8c','476c25f07b10bca496065d7d8219558b098949a08fe24061c859baf8a3acf2f3');
INSERT INTO "rating_event" VALUES(12,'event-000012','7168575bc7f965b6082c115b97ed40db','gold','rate',NULL,'right',0,NULL,'remark 12','2026-11-23T01:00:00Z',NULL,4800,'2026-11-23T05:05:10.970565Z',0,0,'0.1.0','0001','s1','483b3e7ff55a4239b054d3a8a97c87044d390d3cdf81dfc28358e280befd215f','476c25f07b10bca496065d7d8219558b098949a08fe24061c859baf8a3acf2f3','6c70854f67fdf68a60f1172463cad9f84c92d0e930654f5d0ffb7f0ff8b37d9e');
INSERT INTO "rating_event" VALUES(13,'event-000013','a27d9d4efad3e38e2146cad3952be5b8','gold','rate',NULL,'tie',0,NULL,'remark 13','2026-11-23T01:00:00Z',NULL,5200,'2026-11-23T05:05:10.981962Z',0,0,'0.1.0','0001','s1','057dbcbdf44dfa6f491bb7bc510d0757ee475a35c3fdf7eeea37baf6cb04b401','6c70854f67fdf68a60f1172463cad9f84c92d0e930654f5d0ffb7f0ff8b37d9e','fcd5356a2708820499576d1e331e72e49e0a2e3f54e722e11136bad8b859757e');
INSERT INTO "rating_event" VALUES(14,'event-000014','28b1f9273cc92bd46758d391a6898e04','gold','rate',NULL,'both_bad',0,NULL,'remark 14','2026-11-23T01:00:00Z',NULL,5600,'2026-11-23T05:05:10.993737Z',0,0,'0.1.0','0001','s1','8948d3b948f9e98504af4b21910318197fcb14d97e6044db3a4bfcdfea6301e4','fcd5356a2708820499576d1e331e72e49e0a2e3f54e722e11136bad8b859757e','e5b53b359bf1599e9dcbd784af4e69c8e265ade2f7abaff81d80b7b7b5b3bf27');
INSERT INTO "rating_event" VALUES(15,'event-000015','7462c73c1ffbcbd29c53ad591f7bea4a','gold','skip',NULL,NULL,NULL,NULL,'remark 15','2026-11-23T01:00:00Z',NULL,6000,'2026-11-23T05:05:11.006413Z',0,0,'0.1.0','0001','s1','a97bbd2313f8dd1819bc191354ee764265f452feb072115eda6b2855db5b0a05','e5b53b359bf1599e9dcbd784af4e69c8e265ade2f7abaff81d80b7b7b5b3bf27','5f97a0a60a38507ee7bc3b321b9c7384813a3eba7ef774514c065cf14d5bda52');
INSERT INTO "rating_event" VALUES(16,'event-000016','cefea7192d3327b3806babff703142cb','ann','revise','event-000001','right',1,NULL,'remark 16','2026-11-23T01:00:00Z',NULL,6400,'2026-11-23T05:05:11.020630Z',1,0,'0.1.0','0001','s1','3115929de90fb539a6d7c855427a2e3e98a3afef9ffdc0a090f1ff28a932deb0','5f97a0a60a38507ee7bc3b321b9c7384813a3eba7ef774514c065cf14d5bda52','62f5ae1f13d251942c8008361a346e4756165ce2c3e39c37e8d9441d3259f4bf');
INSERT INTO "rating_event" VALUES(17,'event-000017','8e2d6eac111209da12f923e8829826df','bob','undo','event-000007',NULL,NULL,NULL,'remark 17','2026-11-23T01:00:00Z',NULL,6800,'2026-11-23T05:05:11.030362Z',0,0,'0.1.0','0001','s1','81c8a83449e479d6d3ba644bc7fa785dd576abb5bfeaaa4dd2bf3acf7e61b5ef','62f5ae1f13d251942c8008361a346e4756165ce2c3e39c37e8d9441d3259f4bf','e857a1e1e9436b69aea644e9dba01c5930559f455e56eb4fc554f2a78ccd8636');
INSERT INTO "rating_event" VALUES(18,'event-000018','9aebca77885f84b1026782be1839adc0','bob','undo','event-000008',NULL,NULL,NULL,'remark 18','2026-11-23T01:00:00Z',NULL,7200,'2026-11-23T05:05:11.036161Z',0,0,'0.1.0','0001','s1','f5b60368adfc9f895163057ee050cbedd43e4bd8928f94fca7c508ab03b8a85a','e857a1e1e9436b69aea644e9dba01c5930559f455e56eb4fc554f2a78ccd8636','74321234128548f22d80409ce7f1b8ab997d1ebb7a9369e7f807d4d3a636dfc0');
INSERT INTO "rating_event" VALUES(19,'event-000019','9aebca77885f84b1026782be1839adc0','bob','flag','event-000018',NULL,NULL,NULL,'remark 19','2026-11-23T01:00:00Z',NULL,7600,'2026-11-23T05:05:11.046608Z',0,0,'0.1.0','0001','s1','24182b313f1895ee6c9bfcca871a7fde1154a79b67e2e632c1a5e8eb22d359a1','74321234128548f22d80409ce7f1b8ab997d1ebb7a9369e7f807d4d3a636dfc0','98db6656b3348b3ec6a211ade6e0c985e34adae8931c0fccc2b868b4c14728c0');
INSERT INTO "rating_event" VALUES(20,'event-000020','453705c3010353379a8caa22bb2ec002','ann','rate',NULL,'left',2,NULL,'remark 20','2026-11-23T01:00:00Z',NULL,8000,'2026-11-23T05:05:11.059037Z',0,0,'0.1.0','0001','s1','c32b559fd7e61739253eb4166395d3b4f04b48de719ccaa9a872bd684bd80165','98db6656b3348b3ec6a211ade6e0c985e34adae8931c0fccc2b868b4c14728c0','800b82f37bf219019d839835f4ee8e32a84deb0496dd8c7c76a0212e6ee72984');
CREATE TABLE response (
    response_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    slot INTEGER NOT NULL,
    model_ref TEXT NOT NULL,
    generation_json TEXT NOT NULL,
    text TEXT NOT NULL,
    replaced INTEGER NOT NULL,
    raw_hash TEXT NOT NULL,
    PRIMARY KEY (response_id),
    CONSTRAINT response_slot UNIQUE (task_id, slot),
    FOREIGN KEY (task_id) REFERENCES task (task_id) ON DELETE RESTRICT
) STRICT;
INSERT INTO "response" VALUES('fde3b66ed237cd4ffdb8da49601e12b750df4e282208d5ffea297a932f83a22a','1a1e906c1e0b77429f0218a81c51ca2ef37ee6be2568349cfe2bdebc315f09ec',0,'wren','{}','short ',0,'751019d84bf5fa3a256c458a2ef84a168b1069593baec2f12327291652b15573');
INSERT INTO "response" VALUES('af355cddf90e1701125e64a0eaa09868f27f2e16f6aa59f073b9e0e750913dc8','1a1e906c1e0b77429f0218a81c51ca2ef37ee6be2568349cfe2bdebc315f09ec',1,'run:tuned','{"seed":0}','a rather longer answer ',0,'58ef2fbf5070863c19ce4c42bcfd8d1601e942df2b28aa20c2e0d1911250c336');
INSERT INTO "response" VALUES('e54fb9d594cdd9b973c69222438dd5fd00c541d807a7f1b9c109a46f639e1f76','e12b97831d453de57f9a732415f58aae75bb4c1b935097768847be20dee405f9',0,'wren','{}','short short ',0,'92baa1e7c2367f541a34ea1f45241a3c39de083fa4fbdbd9d973a4fe50d0b61a');
INSERT INTO "response" VALUES('327d2dd87a12135f8512f3e4ef0a6b58081398c8c07ccee4d504741bc48ec6fc','e12b97831d453de57f9a732415f58aae75bb4c1b935097768847be20dee405f9',1,'run:tuned','{"seed":1}','a rather longer answer a rather longer answer ',0,'4a7c623e5075c801235b4a6517de9efc9dc14414f24959bb61f7a77f5b94b543');
INSERT INTO "response" VALUES('70ff2b0222a246e5e3a934298816411c4173089700ccf19bd34380587995d984','3dd600a535e03df80c144200da2c2359c928cb0f46d5f079945d3767b8eb78d2',0,'wren','{}','short short short ',0,'2df52c92fd25e58e32bd66dd930b3ea7e465923679b95d3aa62e84898ab08702');
INSERT INTO "response" VALUES('ca192459a077cb7988d79dc695d72afa42309eaf3aed16c8b216adc1627cb05f','3dd600a535e03df80c144200da2c2359c928cb0f46d5f079945d3767b8eb78d2',1,'run:tuned','{"seed":2}','a rather longer answer a rather longer answer a rather longer answer ',0,'7d1bb318ada1361770a17c9e73a92142ee556b08625905a48443a00a4a37b77b');
INSERT INTO "response" VALUES('825f778c3b25b396b9b8a47384f7478f23c75f16551a005e808514aeb9ec8af7','b429e30d22130a20088942a218a223565161066be9288279d1493003202c0368',0,'wren','{}','short short short short ',0,'de7ad1f5bc225b4041559c6400480982bc6ee2bf1a19d12a9fc83c98d6ee1d09');
INSERT INTO "response" VALUES('92b16f7e3ffa08a475d13a5013af98e6f829fd317b94e7edfecc25e23f6bc6a2','b429e30d22130a20088942a218a223565161066be9288279d1493003202c0368',1,'run:tuned','{"seed":3}','a rather longer answer a rather longer answer a rather longer answer a rather longer answer ',0,'9b7f8d3dd4f0df16dcd2bc10c1b0487c3d31b4a3867ae6da50b7922f24dfabb3');
INSERT INTO "response" VALUES('e629611e51831b67876f2fe441e4e323fc10ee13512bd418d26ba0d380eb129f','551472d9fab01351b0012431a22722570d38b355da1cb8391f19dc8fbfac839e',0,'wren','{}','short short short short short ',0,'b1811210718aa1a20c8d5705b2d5213aad59e6a8ef199be40ac8aa858278a2b3');
INSERT INTO "response" VALUES('ca4ea55407156baa77a95b38367a42ec9640d524d04d97e830086f2199f8721a','551472d9fab01351b0012431a22722570d38b355da1cb8391f19dc8fbfac839e',1,'run:other','{"seed":4}','a rather longer answer a rather longer answer a rather longer answer a rather longer answer a rather longer answer ',0,'67d8e50c0e9c3f6a7ea38f40147876b56b3a93cb99d4ca97ce862315fe922864');
INSERT INTO "response" VALUES('6056c907c78fc34701eec7c11992bae7c1eeb2146da55ddc9296fa34f1f72e2c','62c2cdfcddeb26c2c65a264c5118ab9f47ec0197db9da9c5e3eaf5336ff22601',0,'wren','{}','short short short short short short ',0,'1ecd7473eb58a58b99e2a7571d5e8bfdd940ff3187958603cbac566d0f40365f');
INSERT INTO "response" VALUES('ee715d33fa023d60d5213608e1a4bf93348eca7f7d8aa017061c2dd551139941','62c2cdfcddeb26c2c65a264c5118ab9f47ec0197db9da9c5e3eaf5336ff22601',1,'run:other','{"seed":5}','a rather longer answer a rather longer answer a rather longer answer a rather longer answer a rather longer answer a rather longer answer ',0,'d236bd63db3c0ceeaa443db2135a49a4c619e17290cb1c2f6229c732e9ec423f');
INSERT INTO "response" VALUES('5d46a34c73b1072cbda6b4db64af7e6adddd4b7210d4aece6aa4c3090b172518','5d950d7b33ddea2039173fc24d7606b3690749e0effddf289b57496aa6acf730',0,'wren','{}','short ',0,'751019d84bf5fa3a256c458a2ef84a168b1069593baec2f12327291652b15573');
INSERT INTO "response" VALUES('ed737da792ff2588d4466e381cf37431bda87e169111ca8a017e82ff62d696a2','5d950d7b33ddea2039173fc24d7606b3690749e0effddf289b57496aa6acf730',1,'run:tuned','{"seed":0}','a rather longer answer ',0,'58ef2fbf5070863c19ce4c42bcfd8d1601e942df2b28aa20c2e0d1911250c336');
INSERT INTO "response" VALUES('07fb5179c8f17edd13e4b198b986b6d3aab510eb3488469f1a951912d59834a6','3849eba20a3f6c9aa62bfc693a01b3fc04f1040b6d2f51a4ba80a73f794fb026',0,'wren','{}','short short ',0,'92baa1e7c2367f541a34ea1f45241a3c39de083fa4fbdbd9d973a4fe50d0b61a');
INSERT INTO "response" VALUES('f4a0afe50bca73df45223bacec9d20d068b703c44e5db539918c107ad0ea95fb','3849eba20a3f6c9aa62bfc693a01b3fc04f1040b6d2f51a4ba80a73f794fb026',1,'run:tuned','{"seed":1}','a rather longer answer a rather longer answer ',0,'4a7c623e5075c801235b4a6517de9efc9dc14414f24959bb61f7a77f5b94b543');
CREATE TABLE reveal (
    assignment_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    server_utc TEXT NOT NULL,
    PRIMARY KEY (assignment_id),
    FOREIGN KEY (assignment_id) REFERENCES assignment (assignment_id) ON DELETE RESTRICT
) STRICT;
INSERT INTO "reveal" VALUES('cefea7192d3327b3806babff703142cb','event-000001','2026-11-23T05:05:11.012166Z');
CREATE TABLE task (
    task_id TEXT NOT NULL,
    batch TEXT NOT NULL,
    instruction_version INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    prompt_json TEXT NOT NULL,
    tags_json TEXT NOT NULL,
    replaced INTEGER NOT NULL,
    raw_hash TEXT NOT NULL,
    created_utc TEXT NOT NULL,
    PRIMARY KEY (task_id),
    CONSTRAINT task_instruction FOREIGN KEY (batch, instruction_version)
        REFERENCES instruction (batch, version) ON DELETE RESTRICT,
    CONSTRAINT task_place UNIQUE (batch, ordinal)
) STRICT;
INSERT INTO "task" VALUES('1a1e906c1e0b77429f0218a81c51ca2ef37ee6be2568349cfe2bdebc315f09ec','first',1,1,'[{"content":"Question 0?","role":"user"}]','{"n":0}',0,'9b5e6d2e5921b2355e17fbf48c9b63964b271bd230da03699703e482e6016ddb','2026-11-23T05:05:10.839447Z');
INSERT INTO "task" VALUES('e12b97831d453de57f9a732415f58aae75bb4c1b935097768847be20dee405f9','first',1,2,'[{"content":"Question 1?","role":"user"}]','{"n":1}',0,'2531b09337a304889f2eefa3c94d4f66eded5df27f52aff6b6a61b2f56d1c189','2026-11-23T05:05:10.840596Z');
INSERT INTO "task" VALUES('3dd600a535e03df80c144200da2c2359c928cb0f46d5f079945d3767b8eb78d2','first',1,3,'[{"content":"Question 2?","role":"user"}]','{"n":2}',0,'fc487dea646c8e4a6e732ef73040239a2256a9c9e62ec062d81c93ff6a63df0f','2026-11-23T05:05:10.841036Z');
INSERT INTO "task" VALUES('b429e30d22130a20088942a218a223565161066be9288279d1493003202c0368','first',1,4,'[{"content":"Question 3?","role":"user"}]','{"n":3}',0,'805a1ef8f36ad67701d3902b7a05bbfb4ded0498def25b7683213490c3b4d76d','2026-11-23T05:05:10.841327Z');
INSERT INTO "task" VALUES('551472d9fab01351b0012431a22722570d38b355da1cb8391f19dc8fbfac839e','first',1,5,'[{"content":"Question 4?","role":"user"}]','{"n":4}',0,'9ad5375fe8c966e16679fe4fb7ef433494ab1c1fa5d2f43f6f4d559bdb80b769','2026-11-23T05:05:10.841591Z');
INSERT INTO "task" VALUES('62c2cdfcddeb26c2c65a264c5118ab9f47ec0197db9da9c5e3eaf5336ff22601','first',1,6,'[{"content":"Question 5?","role":"user"}]','{"n":5}',0,'1d2f93d537f31a46c0791fb7d4e8382ee5a3e64351e246462186521ae24814ed','2026-11-23T05:05:10.841838Z');
INSERT INTO "task" VALUES('5d950d7b33ddea2039173fc24d7606b3690749e0effddf289b57496aa6acf730','second',1,1,'[{"content":"Question 0?","role":"user"}]','{"n":0}',0,'9b5e6d2e5921b2355e17fbf48c9b63964b271bd230da03699703e482e6016ddb','2026-11-23T05:05:10.858818Z');
INSERT INTO "task" VALUES('3849eba20a3f6c9aa62bfc693a01b3fc04f1040b6d2f51a4ba80a73f794fb026','second',1,2,'[{"content":"Question 1?","role":"user"}]','{"n":1}',0,'2531b09337a304889f2eefa3c94d4f66eded5df27f52aff6b6a61b2f56d1c189','2026-11-23T05:05:10.859131Z');
CREATE INDEX assignment_queue ON assignment (rater_id, batch, is_open, ordinal);
CREATE INDEX event_assignment ON rating_event (assignment_id, seq);
CREATE UNIQUE INDEX one_first_event ON rating_event (assignment_id) WHERE prev_event_id IS NULL;
CREATE VIEW current_rating AS
    SELECT e.* FROM rating_event e
    WHERE NOT EXISTS (SELECT 1 FROM rating_event n WHERE n.prev_event_id = e.event_id);
CREATE TRIGGER batch_no_update BEFORE UPDATE ON batch BEGIN SELECT RAISE(ABORT, 'batch is append-only'); END;
CREATE TRIGGER batch_no_delete BEFORE DELETE ON batch BEGIN SELECT RAISE(ABORT, 'batch is append-only'); END;
CREATE TRIGGER instruction_no_update BEFORE UPDATE ON instruction BEGIN SELECT RAISE(ABORT, 'instruction is append-only'); END;
CREATE TRIGGER instruction_no_delete BEFORE DELETE ON instruction BEGIN SELECT RAISE(ABORT, 'instruction is append-only'); END;
CREATE TRIGGER rater_no_update BEFORE UPDATE ON rater BEGIN SELECT RAISE(ABORT, 'rater is append-only'); END;
CREATE TRIGGER rater_no_delete BEFORE DELETE ON rater BEGIN SELECT RAISE(ABORT, 'rater is append-only'); END;
CREATE TRIGGER task_no_update BEFORE UPDATE ON task BEGIN SELECT RAISE(ABORT, 'task is append-only'); END;
CREATE TRIGGER task_no_delete BEFORE DELETE ON task BEGIN SELECT RAISE(ABORT, 'task is append-only'); END;
CREATE TRIGGER response_no_update BEFORE UPDATE ON response BEGIN SELECT RAISE(ABORT, 'response is append-only'); END;
CREATE TRIGGER response_no_delete BEFORE DELETE ON response BEGIN SELECT RAISE(ABORT, 'response is append-only'); END;
CREATE TRIGGER rating_event_no_update BEFORE UPDATE ON rating_event BEGIN SELECT RAISE(ABORT, 'rating_event is append-only'); END;
CREATE TRIGGER rating_event_no_delete BEFORE DELETE ON rating_event BEGIN SELECT RAISE(ABORT, 'rating_event is append-only'); END;
CREATE TRIGGER reveal_no_update BEFORE UPDATE ON reveal BEGIN SELECT RAISE(ABORT, 'reveal is append-only'); END;
CREATE TRIGGER reveal_no_delete BEFORE DELETE ON reveal BEGIN SELECT RAISE(ABORT, 'reveal is append-only'); END;
CREATE TRIGGER quarantine_no_update BEFORE UPDATE ON quarantine BEGIN SELECT RAISE(ABORT, 'quarantine is append-only'); END;
CREATE TRIGGER quarantine_no_delete BEFORE DELETE ON quarantine BEGIN SELECT RAISE(ABORT, 'quarantine is append-only'); END;
CREATE TRIGGER assignment_no_delete BEFORE DELETE ON assignment BEGIN SELECT RAISE(ABORT, 'assignments are never deleted'); END;
CREATE TRIGGER assignment_no_update BEFORE UPDATE OF assignment_id, task_id, rater_id, batch, ordinal, repeat_no, is_gold, order_json, created_utc ON assignment BEGIN SELECT RAISE(ABORT, 'what was shown to whom is never changed'); END;
CREATE TRIGGER rating_event_no_replace BEFORE INSERT ON rating_event WHEN NEW.seq <> (SELECT ifnull(max(seq), 0) + 1 FROM rating_event) OR EXISTS (SELECT 1 FROM rating_event WHERE event_id = NEW.event_id) BEGIN SELECT RAISE(ABORT, 'rating_event is append-only'); END;
COMMIT;
