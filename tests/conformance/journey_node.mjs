// From a file to a chat with the tuned model, with OpenAI's client in JavaScript: `node … URL PACKAGE`.
import assert from "node:assert/strict";

const [url, place] = process.argv.slice(2);
const { default: OpenAI, toFile } = await import(`${place}/node_modules/openai/index.mjs`);
const client = new OpenAI({ baseURL: url, apiKey: "none" });

const rows = Array.from({ length: 12 }, (_, number) =>
  JSON.stringify({
    messages: [
      { role: "user", content: `${number} Elm` },
      { role: "assistant", content: `n${number}` },
    ],
  }),
);
const content = Buffer.from(rows.join("\n") + "\n");
const file = await client.files.create({ file: await toFile(content, "train.jsonl"), purpose: "fine-tune" });
assert.equal(file.bytes, content.length);
let job = await client.fineTuning.jobs.create({
  model: "fake",
  training_file: file.id,
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2 } } },
});
while (!["succeeded", "failed"].includes(job.status)) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  job = await client.fineTuning.jobs.retrieve(job.id);
}
assert.equal(job.status, "succeeded", JSON.stringify(job.error));
const said = [];
for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 5 })) said.push(event.message);
assert.equal(said[0], "The job has successfully completed");
assert.ok(said.length > 10, "pages follow each other");
const checkpoints = await client.fineTuning.jobs.checkpoints.list(job.id);
assert.ok(checkpoints.data[0].step_number > 0);
const messages = [{ role: "user", content: "3 Elm" }];
const answer = await client.chat.completions.create({ model: job.fine_tuned_model, messages });
assert.equal(answer.choices[0].message.content, "n3");
let text = "";
const stream = await client.chat.completions.create({ model: job.fine_tuned_model, messages, stream: true });
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
assert.equal(text, "n3");
assert.equal((await client.models.delete(job.fine_tuned_model)).deleted, true);
await assert.rejects(
  client.chat.completions.create({ model: job.fine_tuned_model, messages }),
  (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found",
);
console.log("ok");
