"""From a file to a chat with the tuned model, with OpenAI's client of before: `python … URL`."""

import sys
import time

import openai

ROW = '{"messages": [{"role": "user", "content": "%d Elm"}, {"role": "assistant", "content": "n%d"}]}\n'

assert openai.__version__.startswith("1."), openai.__version__
client = openai.OpenAI(base_url=sys.argv[1], api_key="none")
content = "".join(ROW % (number, number) for number in range(12)).encode()
file = client.files.create(file=("train.jsonl", content), purpose="fine-tune")
assert client.files.wait_for_processing(file.id).status == "processed"
job = client.fine_tuning.jobs.create(
    model="fake", training_file=file.id, hyperparameters={"n_epochs": 2}, suffix="old"
)
while (job := client.fine_tuning.jobs.retrieve(job.id)).status not in ("succeeded", "failed"):
    time.sleep(0.1)
assert job.status == "succeeded", job.error
assert client.fine_tuning.jobs.list_events(job.id, limit=1).data[0].message.endswith("completed")
assert client.fine_tuning.jobs.checkpoints.list(job.id).data[0].step_number > 0
turns = [{"role": "user", "content": "3 Elm"}]
answer = client.chat.completions.create(model=job.fine_tuned_model, messages=turns)
assert answer.choices[0].message.content == "n3", answer
stream = client.chat.completions.create(model=job.fine_tuned_model, messages=turns, stream=True)
assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "n3"
assert client.models.delete(job.fine_tuned_model).deleted
refused = None
try:
    client.chat.completions.create(model=job.fine_tuned_model, messages=turns)
except openai.NotFoundError as error:
    refused = error.code
assert refused == "model_not_found", "a deleted model answers"
print("ok")
