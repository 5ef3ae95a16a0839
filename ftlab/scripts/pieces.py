"""Functions and a class that scripts are put together from; those with braces doubled are formatted first."""

ENCODE = '''
def encode(messages, *, opening=False):
    """Token ids of a conversation; `opening` ends where an answer begins."""
    if not messages:
        return []
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opening)
    return tokenizer(text, add_special_tokens=False)["input_ids"]
'''
SAME = '''
def same(one, other):
    """How many leading ids are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
'''
TURNS = '''
def tokens(row):
    """Token ids of a row, and labels: the id where every answer counts in the loss, -100 elsewhere."""
    messages = {messages}
    ids = encode(messages)
    labels = [-100] * len(ids)
    for turn, message in enumerate(messages):
        if message["role"] == "assistant":
            start = same(encode(messages[:turn], opening=True), ids)
            end = same(encode(messages[: turn + 1]), ids)
            labels[start:end] = ids[start:end]
    return {{"input_ids": ids[:MAX_LENGTH], "labels": labels[:MAX_LENGTH]}}
'''
LAST = '''
def tokens(row):
    """Token ids of a row, and labels: the id where the last answer counts in the loss, -100 elsewhere."""
    messages = {messages}
    last = max(turn for turn, message in enumerate(messages) if message["role"] == "assistant")
    ids = encode(messages[: last + 1])
    start = same(encode(messages[:last], opening=True), ids)
    labels = [-100] * start + ids[start:]
    return {{"input_ids": ids[:MAX_LENGTH], "labels": labels[:MAX_LENGTH]}}
'''
ALL = '''
def tokens(row):
    """Token ids of a row; all of them count in the loss."""
    ids = encode({messages})
    return {{"input_ids": ids[:MAX_LENGTH], "labels": ids[:MAX_LENGTH]}}
'''
ENDED = '''
def encode(text, *, opening=False):
    """Token ids of a text with an end token behind it; `opening` leaves it open."""
    ids = tokenizer(text)["input_ids"]
    end = tokenizer.eos_token_id
    if end is None:
        return ids
    ids = ids[:-1] if ids and ids[-1] == end else ids
    return ids if opening else [*ids, end]
'''
PLAIN = '''
def tokens(row):
    """Token ids of a row, and labels: the id where the completion counts in the loss, -100 elsewhere."""
    ids = encode(row["prompt"] + row["completion"])
    start = same(encode(row["prompt"], opening=True), ids)
    labels = [-100] * start + ids[start:]
    return {"input_ids": ids[:MAX_LENGTH], "labels": labels[:MAX_LENGTH]}
'''
DATASET = '''
def dataset(rows):
    """The columns that are trained on; rows in which nothing counts are left out."""
    columns = [tokens(row) for row in rows]
    return Dataset.from_list([one for one in columns if any(label != -100 for label in one["labels"][1:])])
'''
READ = '''
def read(name):
    """The rows of a file of JSON lines, which lies beside this script unless its path is absolute."""
    with (Path(__file__).parent / name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]
'''
ANSWERS = '''
@torch.no_grad()
def answers(model, tokenizer, prompts, temperature):
    """Its answer to each conversation, drawn at this temperature (0: the likeliest token each time)."""
    device, side = next(model.parameters()).device, tokenizer.padding_side
    tokenizer.padding_side = "left"
    draw = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    texts = []
    for start in range(0, len(prompts), 16):
        some = [
            tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True)
            for one in prompts[start : start + 16]
        ]
        batch = tokenizer(some, add_special_tokens=False, return_tensors="pt", padding=True).to(device)
        batch.pop("token_type_ids", None)
        ids = model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, **draw)
        texts += tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    tokenizer.padding_side = side
    return [text.strip() for text in texts]
'''
ASKED = '''
def asked(row):
    """What a row asks: its messages up to the last answer."""
    messages = row["prompt"] if "prompt" in row else row["messages"]
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages
'''
HINTON = '''
class Distiller(SFTTrainer):
    """alpha CE + (1 - alpha) T^2 KL(teacher || student), both softened by T (Hinton et al. 2015)."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")[:, 1:]
        counts = labels != -100
        outputs = model(**inputs)
        student = outputs.logits[:, :-1][counts].float()
        with torch.no_grad():
            theirs = teacher(**inputs).logits[:, :-1][counts].float()
        soft = functional.kl_div(
            functional.log_softmax(student / TEMPERATURE, dim=-1),
            functional.log_softmax(theirs / TEMPERATURE, dim=-1),
            log_target=True,
            reduction="batchmean",
        )
        hard = functional.cross_entropy(student, labels[counts])
        loss = ALPHA * hard + (1 - ALPHA) * TEMPERATURE**2 * soft
        return (loss, outputs) if return_outputs else loss
'''
