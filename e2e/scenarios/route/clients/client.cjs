// OpenAI's client for Node, as its documentation uses it; address and key come from the environment.
const OpenAI = require("openai");

const messages = [{ role: "user", content: "Hello" }];
const tools = [{ type: "function", function: { name: "find_parcel", parameters: { type: "object", properties: {} } } }];

async function main() {
  const client = new OpenAI();
  const chat = await client.chat.completions.create({ model: "auto", messages, max_tokens: 5 });
  let pieces = 0;
  for await (const chunk of await client.chat.completions.create({ model: "auto", messages, max_tokens: 5, stream: true })) {
    pieces += chunk.choices.length;
  }
  const called = await client.chat.completions.create({ model: "gpt-5", messages, tools }, { headers: { "x-script": "tool=1" } });
  const vectors = await client.embeddings.create({ model: "text-embedding-3-small", input: ["a", "b"] });
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  console.log(JSON.stringify({
    tokens: chat.usage.completion_tokens,
    pieces,
    tool: called.choices[0].message.tool_calls[0].function.name,
    vectors: vectors.data.length,
    listed: models.includes("auto"),
  }));
}

main();
