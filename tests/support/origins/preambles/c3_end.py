import json

from transformers import GPT2Config, GPT2LMHeadModel, Trainer

logged = []


class Witness(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        logged.append(dict(logs))


run = project.run("fine-tune", rate=0.01)
rows = [{"input_ids": torch.arange(8), "labels": torch.arange(8)}] * 8
trainer = Trainer(
    model=GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=1)),
    args=TrainingArguments(
        output_dir="out",
        max_steps=5,
        per_device_train_batch_size=2,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=rows,
    callbacks=[LoggingCallback(run), Witness()],
)
trainer.train()
callback = LoggingCallback(run)
for step in range(1000):
    callback.on_log(None, None, None, {"scalar": torch.tensor(step + 0.5), "note": "text"})
print("\n" + json.dumps(logged))
