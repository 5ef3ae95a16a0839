"""What each method needs in its script: the rows as it learns from them, what is put on the model, the trainer."""

from pathlib import Path
from typing import Any

from ftlab.scripts import pieces
from ftlab.scripts.plan import Plan
from ftlab.scripts.text import Bare, Script, call, literal
from ftlab.snippets import changed


def written(plan: Plan) -> str:
    """The script."""
    if plan.needs_ftlab:
        return _with_ftlab(plan)
    script = _begun(plan)
    kind = plan.method.kind
    if kind == "dpo":
        _preferences(script, plan)
    elif kind == "reward":
        _comparisons(script, plan)
    elif kind == "distillation" and plan.method.objective.kind in {"word", "gkd"}:
        _corrected(script, plan)
    else:
        _examples(script, plan)
    _ended(script, plan)
    return str(script)


def _with_ftlab(plan: Plan) -> str:
    config = plan.config
    script = Script(_title(plan))
    script.needs("ftlab", "Run", "RunConfig")
    script.needs("ftlab.methods", "train")
    script.add(
        f"# {plan.needs_ftlab}.\n# So this part is ftlab's; it trains in this very process.\n"
        f"config = {call('RunConfig.from_dict', {}, literal(changed(config), 4))}\n"
        "run = Run.create(config)\ntrain(run.folder)\n"
        'print(run.folder / "model")'
    )
    return str(script)


def _title(plan: Plan) -> str:
    config = plan.config
    named = (config.model, config.data.train)
    start, rows = (Path(one).name if Path(one).is_absolute() else one for one in named)
    return f"{config.title}: {plan.method.kind} of {start} on {rows}, as ftlab would do it."


def _begun(plan: Plan) -> Script:
    """Everything up to the model."""
    config = plan.config
    packages = '"torch" "transformers>=5.20,<6" "trl>=1.14,<2" "peft>=0.20" "datasets>=4"'
    extra = " bitsandbytes" if plan.is_rough else ""
    script = Script(f"{_title(plan)}\n\nIt needs: pip install {packages}{extra}\n")
    base, adapter = plan.model(config.model)
    script.needs("json")
    script.needs("torch")
    script.needs("pathlib", "Path")
    script.needs("datasets", "Dataset")
    script.constant("MODEL", base)
    script.constant("TRAIN", plan.train_file)
    if plan.eval_file is not None:
        script.constant("EVAL", plan.eval_file)
    script.constant("OUTPUT", config.title, "a folder")
    script.constant("MAX_LENGTH", config.data.max_length, "tokens")
    script.constant("SEED", config.seed)
    found = {False: "False", True: "True", None: "torch.cuda.is_available()"}[plan.on_gpu]
    script.constant("GPU", Bare(found))
    script.constant("BF16", Bare("GPU and torch.cuda.is_bf16_supported()"))
    if config.threads is not None:
        script.add(f"torch.set_num_threads({config.threads})")
    _model(script, plan, adapter)
    return script


def _model(script: Script, plan: Plan, adapter: str | None) -> None:
    is_judge = plan.method.kind == "reward"
    kind = "AutoModelForSequenceClassification" if is_judge else "AutoModelForCausalLM"
    script.needs("transformers", kind, "AutoTokenizer")
    options: dict[str, Any] = {"dtype": Bare(_dtype(plan))}
    if is_judge:
        options |= {"num_labels": 1, "pad_token_id": Bare("tokenizer.pad_token_id")}
    if plan.is_rough:
        script.needs("transformers", "BitsAndBytesConfig")
        script.needs("peft", "prepare_model_for_kbit_training")
        options |= {"quantization_config": Bare("rough"), "device_map": Bare('{"": 0} if GPU else "cpu"')}
    lines = [
        "torch.manual_seed(SEED)",
        "tokenizer = AutoTokenizer.from_pretrained(MODEL)",
        "if tokenizer.pad_token is None:",
        "    tokenizer.pad_token = tokenizer.eos_token  # labels decide what is learned, not the id",
    ]
    if plan.is_rough:
        settings = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": plan.method.double_quantization,
            "bnb_4bit_compute_dtype": Bare("torch.bfloat16 if BF16 else torch.float32"),
        }
        lines += ["# bitsandbytes rounds in blocks of 64 weights" + _block_note(plan)]
        lines += [f"rough = {call('BitsAndBytesConfig', settings)}"]
    lines += [f"model = {call(f'{kind}.from_pretrained', options, 'MODEL')}"]
    if plan.is_rough:
        lines += ["model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)"]
    if adapter is not None:
        lines += _started_from(script, plan, adapter)
    script.add("\n".join(lines))


def _block_note(plan: Plan) -> str:
    return "" if plan.method.block == 64 else f"; ftlab was asked for {plan.method.block}"


def _dtype(plan: Plan) -> str:
    """16 bits for weights that stay as they are, where the machine multiplies them."""
    is_frozen = getattr(plan.method, "adapter", None) is not None or plan.method.kind in {
        "lora", "qlora", "prompt_tuning", "prefix_tuning", "p_tuning", "ia3",
    }  # fmt: skip
    return "torch.bfloat16 if BF16 else torch.float32" if is_frozen else "torch.float32"


def _started_from(script: Script, plan: Plan, adapter: str) -> list[str]:
    script.needs("peft", "PeftModel")
    script.constant("ADAPTER", adapter, "of an earlier run")
    if _low_rank(plan) is not None:
        return ["model = PeftModel.from_pretrained(model, ADAPTER, is_trainable=True)"]
    return [
        "model = PeftModel.from_pretrained(model, ADAPTER).merge_and_unload()",
        "model.requires_grad_(True)",
    ]


def _low_rank(plan: Plan) -> Any:
    return plan.method if plan.method.kind in {"lora", "qlora"} else getattr(plan.method, "adapter", None)


# The rows


def _read(script: Script) -> None:
    script.add(pieces.READ)


def _examples(script: Script, plan: Plan) -> None:
    """Learning from answers: of the rows, or of a teacher that writes them first."""
    _read(script)
    method = plan.method
    if plan.is_taught:
        _from_teacher(script, plan)
    elif method.kind == "distillation":
        _load_teacher(script, plan)
    _tokens(script, plan)
    script.add(pieces.DATASET)
    _columns(script, plan, "dataset")
    if plan.config.data.packing:
        script.needs("trl", "pack_dataset")
        script.add("# whole rows behind each other, up to MAX_LENGTH; position ids that begin anew keep them apart\n"
                   "train = pack_dataset(train, MAX_LENGTH)")  # fmt: skip
    script.needs("trl", "SFTConfig", "SFTTrainer")
    settings = {
        **plan.settings(),
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "padding_free": plan.config.data.packing,
    }
    trainer = "SFTTrainer"
    if method.kind == "distillation" and method.objective.kind == "hinton":
        script.needs("torch.nn", "functional")
        script.constant("TEMPERATURE", method.objective.temperature)
        script.constant("ALPHA", method.objective.alpha, "share of the labels")
        script.add(pieces.HINTON)
        settings["prediction_loss_only"] = True
        trainer = "Distiller"
    options = _put_on(script, plan)
    _trainer(script, plan, "SFTConfig", trainer, settings, options)


def _tokens(script: Script, plan: Plan) -> None:
    mask = plan.config.data.mask
    if not plan.is_conversation and not plan.is_taught:
        script.add(pieces.ENDED)
        if plan.row_format == "text":
            script.add(pieces.ALL.format(messages='row["text"]'))
        elif mask == "all":
            script.add(pieces.ALL.format(messages='row["prompt"] + row["completion"]'))
        else:
            script.add(pieces.SAME)
            script.add(pieces.PLAIN)
        return
    messages = (
        'row["messages"]'
        if plan.row_format == "messages" and not plan.is_taught
        else 'row["prompt"] + row["completion"]'
    )
    script.add(pieces.ENCODE)
    if mask != "all":
        script.add(pieces.SAME)
    script.add(
        {"all": pieces.ALL, "assistant": pieces.TURNS, "completion": pieces.LAST}[mask].format(
            messages=messages
        )
    )


def _columns(script: Script, plan: Plan, made: str) -> None:
    """`train`, and `evaluation` where there is one."""
    lines = [] if plan.is_taught else ["rows = read(TRAIN)"]
    lines += [f"train = {made}(rows)"]
    if plan.eval_file is not None:
        lines += [f"evaluation = {made}(read(EVAL))"]
    if _counts_steps(plan):
        config = plan.config
        script.needs("math")
        lines += [f"steps = math.ceil(math.ceil(len(train) / {config.batch_size}) * {config.epochs})"]
    script.add("\n".join(lines))


def _counts_steps(plan: Plan) -> bool:
    config = plan.config
    return plan.eval_file is not None and config.evaluate.every_steps is None and config.max_steps is None


def _load_teacher(script: Script, plan: Plan) -> None:
    base, adapter = plan.model(plan.method.teacher)
    script.constant("TEACHER", base)
    lines = [
        f"teacher = AutoModelForCausalLM.from_pretrained(TEACHER, dtype={_sized()})",
        'teacher.to("cuda" if GPU else "cpu").eval()',
    ]
    if adapter is not None:
        script.needs("peft", "PeftModel")
        script.constant("TEACHER_ADAPTER", adapter)
        lines.insert(1, "teacher = PeftModel.from_pretrained(teacher, TEACHER_ADAPTER).merge_and_unload()")
    script.add("\n".join(lines))


def _sized() -> str:
    return "torch.bfloat16 if BF16 else torch.float32"


def _from_teacher(script: Script, plan: Plan) -> None:
    """Step one of two: the teacher's answers become the rows."""
    method = plan.method
    script.constant("MAX_NEW_TOKENS", method.max_new_tokens, "of an answer")
    script.add(pieces.ASKED)
    script.add(pieces.ANSWERS)
    if method.kind == "context_distillation":
        script.constant("CONTEXT", method.context, "what the teacher sees and the student does not")
        script.add(
            f"""
            # Step one: the model answers with the context before it. Step two learns that without the context.
            model.to("cuda" if GPU else "cpu").eval()
            prompts = [asked(row) for row in read(TRAIN) for _ in range({method.answers})]
            told = [[{{"role": "system", "content": CONTEXT}}, *prompt] for prompt in prompts]
            texts = answers(model, tokenizer, told, {method.temperature})
            """
        )
    else:
        _load_teacher(script, plan)
        script.add(
            f"""
            # Step one: the teacher answers. Step two learns its answers as examples.
            prompts = [asked(row) for row in read(TRAIN)]
            texts = answers(teacher, AutoTokenizer.from_pretrained(TEACHER), prompts, {method.objective.temperature})
            del teacher
            """
        )
    script.add(
        """
        pairs = [(prompt, text) for prompt, text in zip(prompts, texts, strict=True) if text]
        rows = [{"prompt": prompt, "completion": [{"role": "assistant", "content": text}]} for prompt, text in pairs]
        """
    )


def _corrected(script: Script, plan: Plan) -> None:
    """GKD, and word-level distillation as what it is without the student's own answers."""
    _read(script)
    _load_teacher(script, plan)
    objective = plan.method.objective
    messages = 'row["messages"]' if plan.row_format == "messages" else 'row["prompt"] + row["completion"]'
    script.add(
        f'def dataset(rows):\n    """Whole conversations; the collator finds the answers."""\n    return Dataset.from_list([{{"messages": {messages}}} for row in rows])'
    )
    _columns(script, plan, "dataset")
    script.needs("trl.experimental.gkd", "GKDConfig", "GKDTrainer")
    own = {"lmbda": 0.0, "beta": 0.0, "temperature": 1.0}  # the data's answers, forward KL, odds as they are
    if objective.kind == "gkd":
        own = {"lmbda": objective.on_policy, "beta": objective.beta, "temperature": objective.temperature}
    settings = {
        **plan.settings(),
        "max_length": Bare("MAX_LENGTH"),
        **own,
        "max_new_tokens": plan.method.max_new_tokens,
    }
    options = {"teacher_model": Bare("teacher"), **_put_on(script, plan)}
    _trainer(script, plan, "GKDConfig", "GKDTrainer", settings, options)


def _preferences(script: Script, plan: Plan) -> None:
    method = plan.method
    _read(script)
    script.add(
        '''
        def dataset(rows):
            """TRL renders the conversations; pairs of the same answer teach nothing."""
            return Dataset.from_list([row for row in rows if row["chosen"] != row["rejected"]])
        '''
    )
    _columns(script, plan, "dataset")
    script.needs("trl", "DPOConfig", "DPOTrainer")
    settings = {
        **plan.settings(),
        "max_length": Bare("MAX_LENGTH"),
        "beta": method.beta,
        "loss_type": [method.loss],
        "label_smoothing": method.label_smoothing,
        "precompute_ref_log_probs": True,
    }
    _trainer(script, plan, "DPOConfig", "DPOTrainer", settings, _put_on(script, plan))


def _comparisons(script: Script, plan: Plan) -> None:
    method = plan.method
    _read(script)
    script.constant("MARGIN", method.margin, "lead in score asked for per degree of a row's margin")
    script.add(
        '''
        def dataset(rows):
            """Whole conversations, better and worse."""
            return Dataset.from_list(
                [
                    {
                        "chosen": row.get("prompt", []) + row["chosen"],
                        "rejected": row.get("prompt", []) + row["rejected"],
                        "margin": MARGIN * (row.get("margin") or 0),
                    }
                    for row in rows
                    if row["chosen"] != row["rejected"]
                ]
            )
        '''
    )
    _columns(script, plan, "dataset")
    script.needs("trl", "RewardConfig", "RewardTrainer")
    settings = {
        **plan.settings(),
        "max_length": Bare("MAX_LENGTH"),
        "center_rewards_coefficient": method.center or None,
    }
    _trainer(script, plan, "RewardConfig", "RewardTrainer", settings, _put_on(script, plan))


# What is put on the model


def _put_on(script: Script, plan: Plan) -> dict[str, Any]:
    """The trainer's options for what learns on the model; soft prompts are put on before."""
    adapter, method = _low_rank(plan), plan.method
    if adapter is not None:
        if plan.model(plan.config.model)[1] is not None:
            return {}  # the earlier run's adapter learns on
        script.needs("peft", "LoraConfig")
        script.add(f"adapter = {call('LoraConfig', plan.peft_lora(adapter))}")
        return {"peft_config": Bare("adapter")}
    soft = {"prompt_tuning": _prompt, "prefix_tuning": _prefix, "p_tuning": _written_prompt, "ia3": _ia3}.get(
        method.kind
    )
    if soft is not None:
        soft(script, method)
    return {}


def _soft(kind: str, options: dict[str, Any]) -> str:
    return f"soft = {call(kind, options)}\nmodel = get_peft_model(model, soft)"


def _prompt(script: Script, method: Any) -> None:
    script.needs("peft", "PromptTuningConfig", "PromptTuningInit", "get_peft_model")
    options: dict[str, Any] = {"num_virtual_tokens": method.tokens, "task_type": "CAUSAL_LM"}
    init = {"random": "RANDOM", "vocabulary": "SAMPLE_VOCAB", "text": "TEXT"}[method.start]
    options["prompt_tuning_init"] = Bare(f"PromptTuningInit.{init}")
    if method.start == "text":
        options |= {"prompt_tuning_init_text": method.text, "tokenizer_name_or_path": Bare("MODEL")}
    line = _soft("PromptTuningConfig", options)
    if method.start == "random":
        line += "\n# uniform, as in the paper; PEFT draws from a normal distribution of width 1\n"
        line += 'torch.nn.init.uniform_(model.prompt_encoder["default"].embedding.weight, -0.5, 0.5)'
    if method.start == "vocabulary":
        line = "# PEFT draws from the whole vocabulary, ftlab from the rows' commonest tokens\n" + line
    script.add(line)


def _prefix(script: Script, method: Any) -> None:
    script.needs("peft", "PrefixTuningConfig", "get_peft_model")
    options = {
        "num_virtual_tokens": method.tokens,
        "prefix_projection": method.projection,
        "task_type": "CAUSAL_LM",
    }
    script.add(_soft("PrefixTuningConfig", options))


def _written_prompt(script: Script, method: Any) -> None:
    script.needs("peft", "PromptEncoderConfig", "get_peft_model")
    options = {
        "num_virtual_tokens": method.tokens,
        "encoder_reparameterization_type": method.encoder.upper(),
        "encoder_hidden_size": method.width,
        "task_type": "CAUSAL_LM",
    }
    script.add(_soft("PromptEncoderConfig", options))


def _ia3(script: Script, _method: Any) -> None:
    script.needs("peft", "IA3Config", "get_peft_model")
    options = {
        "target_modules": ["k_proj", "v_proj", "down_proj"],
        "feedforward_modules": ["down_proj"],
        "task_type": "CAUSAL_LM",
    }
    script.add(_soft("IA3Config", options))


# The trainer


def _trainer(
    script: Script, plan: Plan, config: str, trainer: str, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    if isinstance(every := settings.get("eval_steps"), Bare):
        counted = (
            max(1, (plan.config.max_steps or 0) // 10)
            if not _counts_steps(plan)
            else Bare("max(1, steps // 10)")
        )
        settings = {name: counted if value == every else value for name, value in settings.items()}
    settings |= plan.config.trainer
    given: dict[str, Any] = {
        "model": Bare("model"),
        "args": Bare("args"),
        "train_dataset": Bare("train"),
        **({"eval_dataset": Bare("evaluation")} if plan.eval_file is not None else {}),
        "processing_class": Bare("tokenizer"),
        **options,
    }
    stopping = plan.config.early_stopping
    if stopping is not None and plan.eval_file is not None:
        script.needs("transformers", "EarlyStoppingCallback")
        given["callbacks"] = Bare(f"[EarlyStoppingCallback({stopping.patience}, {stopping.least})]")
    lines = [f"args = {call(config, settings)}", f"trainer = {call(trainer, given)}"]
    plus = getattr(_low_rank(plan), "plus", None)
    if plus is not None:
        script.needs("peft.optimizers", "create_loraplus_optimizer")
        rate = {
            "lr": plan.config.peak_learning_rate,
            "loraplus_lr_ratio": plus,
            "weight_decay": plan.config.weight_decay,
        }
        made = call(
            "create_loraplus_optimizer",
            {"model": Bare("trainer.model"), "optimizer_cls": Bare("torch.optim.AdamW"), **rate},
        )
        lines += ["# B learns faster than A (LoRA+)", f"trainer.optimizer = {made}"]
    lines += ["trainer.train()", 'trainer.save_model(f"{OUTPUT}/model")']
    script.add("\n".join(lines))


def _ended(script: Script, plan: Plan) -> None:
    """Answers to the fixed prompts."""
    prompts = plan.config.evaluate.prompts
    if not prompts or plan.method.kind == "reward":
        return
    script.constant("PROMPTS", prompts)
    length = plan.config.evaluate.max_new_tokens
    script.add(
        f"""
        model = trainer.model.eval()
        for prompt in PROMPTS:
            messages = [{{"role": "user", "content": prompt}}]
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(model.device)
            ids.pop("token_type_ids", None)
            answer = model.generate(**ids, max_new_tokens={length}, do_sample=False)[0, ids["input_ids"].shape[1] :]
            print(f"{{prompt}}\\n  {{tokenizer.decode(answer, skip_special_tokens=True)}}")
        """
    )
