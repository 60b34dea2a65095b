"""Words of other tools, and what they are called here. Data for :mod:`lvexp.checks.nearest`.

Names are in lower case, with underscores. ``{value}`` is the value that was typed. An answer of several words is typed
as it stands; a dictionary has an answer for each value, and for ``None`` if there is no other.
"""

from __future__ import annotations

_ENCODER_DECODER = "encoder.{0}={{value}} decoder.{0}={{value}}"
_DEVICE = {
    **dict.fromkeys(("cuda", "cuda:0", "gpu", "true", "1", "0", "", "-1", "auto"), "trainer=gpu"),
    **dict.fromkeys(("cpu", "false", "none", "null"), "trainer=cpu"),
    "mps": "trainer.accelerator=mps",
    None: "trainer=ddp trainer.devices={value}",
}
_16_BITS = {**dict.fromkeys(("false", "0", "no"), "trainer.precision=32-true"), None: "trainer.precision=bf16-mixed"}


def _tracker(name: str) -> dict[str | None, str]:
    return {**dict.fromkeys(("false", "0", "null", "none", "disabled"), "logger=csv"), None: f"logger={name}"}


_KEYS: dict[str, str | dict[str | None, str]] = {
    "epoch epochs max_epoch num_epochs n_epochs nb_epochs num_train_epochs": "trainer.max_epochs={value}",
    "step steps num_steps n_steps iterations max_iter train_steps num_train_steps": "trainer.max_steps={value}",
    "learning_rate learningrate step_size": "optimizer.lr={value}",
    "wd l2": "optimizer.weight_decay={value}",
    "optim": "optimizer={value}",
    "lr_scheduler lr_scheduler_type lr_schedule": "scheduler={value}",
    "batch bs batchsize train_batch_size per_device_train_batch_size": "data.batch_size={value}",
    "val_batch_size test_batch_size per_device_eval_batch_size": "data.eval_batch_size={value}",
    "random_seed seed_everything manual_seed random_state": "seed={value}",
    "latent_dim latent_dims latent_size latent.size latent.width code_size": "latent.dim={value}",
    "z_dim z_size zdim dim_z nz": "latent.dim={value}",
    "hidden_size hidden_dim hidden_units rnn_size num_units": _ENCODER_DECODER.format("hidden"),
    "embedding_size embedding_dim embed_dim emb_dim emb_size": _ENCODER_DECODER.format("embedding"),
    "num_layers n_layers nlayers": _ENCODER_DECODER.format("layers"),
    "dropout": "decoder.dropout_in={value} decoder.dropout_out={value}",
    "kl_weight kl_coef kld_weight beta_vae": "anneal.beta={value}",
    "kl_annealing kl_anneal annealing": "anneal=linear",
    "kl_warmup warmup_epochs": "anneal=linear anneal.warmup={value}",
    "max_len max_seq_len max_seq_length seq_len sequence_length": "data.max_length={value}",
    "vocab_size vocabulary_size max_vocab vocab": "data.vocabulary.max_size={value}",
    "min_freq": "data.vocabulary.min_count={value}",
    "tokenizer": "data.vocabulary.kind={value}",
    "dataset dataset_name corpus": "data={value}",
    "train_file train_path train_data data.train": "data=text data.files.train={value}",
    "data_file data_path data.path data.file text_file input_file": "data=text data.files.train={value}",
    "valid_file validation_file dev_file": "data.files.valid={value}",
    "test_file": "data.files.test={value}",
    "text_column": "data.columns.text={value}",
    "label_column": "data.columns.label={value}",
    "out out_dir output output_dir save_dir log_dir logdir default_root_dir": "paths.outputs={value}",
    "run_name exp_name experiment_name": "name={value}",
    "wandb use_wandb": _tracker("wandb"),
    "tensorboard use_tensorboard": _tracker("tensorboard"),
    "mlflow": _tracker("mlflow"),
    "report_to log_with": "logger={value}",
    "device cuda use_cuda gpu gpus use_gpu num_gpus n_gpu ngpu": _DEVICE,
    "no_cuda use_cpu": {None: "trainer=cpu"},
    "fp16 bf16 amp mixed_precision": _16_BITS,
    "clip grad_clip gradient_clip clip_grad_norm max_grad_norm": "trainer.gradient_clip_val={value}",
    "gradient_accumulation_steps accumulation_steps": "trainer.accumulate_grad_batches={value}",
    "early_stopping early_stopping_patience": "trainer.patience={value}",
    "val_every eval_every eval_steps": "trainer.val_check_interval={value}",
    "resume_from resume_from_checkpoint ckpt ckpt_path checkpoint load load_from": "resume={value}",
    "eval do_eval eval_only evaluate_only test_only": "evaluate={value}",
    "pretrained model_name_or_path init_from": "finetune={value}",
    "overwrite overwrite_output_dir overwrite_cache rerun": "force=true",
    "fast_dev_run dry_run smoke_test": "debug=steps",
    "remedy remedies reg": "regularizer={value}",
    "num_samples n_samples": "evaluation.samples={value}",
    "arch architecture model_type model_name": "model={value}",
    "preset paper recipe": "experiment={value}",
}  # fmt: skip
#: key → answer
KEYS = {name: answer for names, answer in _KEYS.items() for name in names.split()}

_16 = dict.fromkeys(
    ("16", "fp16", "float16", "half", "mixed", "amp", "bf16", "bfloat16", "bf16_16", "16_bit"), "bf16-mixed"
)
_32 = dict.fromkeys(("fp32", "float32", "full", "float", "single", "true"), "32-true")
#: path of a group or a key → value → the value that it has here, or words to type
VALUES: dict[str, dict[str, str]] = {
    "model": {
        **dict.fromkeys(("vae", "sentencevae", "textvae", "bvae", "betavae"), "svae"),
        **dict.fromkeys(("lstm", "gru", "rnn", "lm", "languagemodel"), "rnnlm"),
        **dict.fromkeys(("autoencoder", "deterministic"), "ae"),
        **dict.fromkeys(("lda", "topic", "topicmodel", "avitm"), "prodlda"),
        **dict.fromkeys(("nmt", "translation", "encoderdecoder"), "seq2seq"),
        "semisupervised": "m2",
    },
    "latent": {
        **dict.fromkeys(("normal", "gauss", "diagonal", "vae"), "gaussian"),
        **dict.fromkeys(("discrete", "vq", "softmax"), "categorical"),
        "bernoulli": "binary",
        "gumbel": "latent=categorical estimator=gumbel",
        "deterministic": "point",
    },
    "anneal": {
        **dict.fromkeys(("none", "no", "off", "false", "null", "fixed"), "constant"),
        **dict.fromkeys(("kl", "true", "monotonic", "warmup"), "linear"),
        "logistic": "sigmoid",
    },
    "regularizer": {
        **dict.fromkeys(("klannealing", "annealing", "klanneal"), "anneal=linear"),
        **dict.fromkeys(("null", "false", "no", "off"), "none"),
        **dict.fromkeys(("infovae", "wae"), "mmd"),
        "bow": "bag_of_words",
        "dropout": "word_dropout",
        "betavae": "anneal.beta=0.5",
    },
    "logger": {
        **dict.fromkeys(("none", "null", "false", "no", "off", "disabled"), "csv"),
        **dict.fromkeys(("true", "wb", "weightsandbiases"), "wandb"),
        "tb": "tensorboard",
    },
    "trainer": {**dict.fromkeys(("cuda", "mps", "auto"), "gpu"), **dict.fromkeys(("default", "null"), "cpu")},
    "debug": {"true": "steps", "1": "steps"},
    "instrument": {"null": "none"},
    "callbacks": {"null": "none"},
    "optimizer": {"rmsprop": "adam", "adagrad": "adam", "momentum": "sgd"},
    "encoder": {"rnn": "lstm", "mlp": "perceptron", "birnn": "bilstm"},
    "decoder": {"rnn": "lstm", "cnn": "dcnn", "mlp": "bow"},
    "trainer.precision": {**_16, **_32, "double": "64-true", "float64": "64-true", "fp64": "64-true"},
    "data.vocabulary.kind": {
        **dict.fromkeys(("word", "whitespace", "space", "token", "tokens"), "words"),
        **dict.fromkeys(("char", "chars", "character", "letters"), "characters"),
        **dict.fromkeys(("subword", "subwords", "wordpiece", "sentencepiece", "unigram"), "bpe"),
    },
}
#: group → the key that a number given to the group may have been meant for
NUMBERS = {
    "latent": "latent.dim",
    "anneal": "anneal.beta",
    "optimizer": "optimizer.lr",
    "trainer": "trainer.max_epochs",
}

_COMMANDS = {
    "train fit run main start": "",
    "help usage list ls options models ? h print_config": "--help",
    "version v": "--version",
    "sweep multirun grid grid_search": "-m",
    "evaluate eval test validate predict": "evaluate=",
    "resume continue": "resume=",
    "finetune": "finetune=",
    "force overwrite": "force=true",
    "debug": "debug=steps",
    "cpu": "trainer=cpu",
    "gpu cuda": "trainer=gpu",
}
#: word without a value → what to type for it; with ``=``, the folder of a run follows
COMMANDS = {name: answer for names, answer in _COMMANDS.items() for name in names.split()}
