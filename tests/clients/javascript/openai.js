// OpenAI's client for JavaScript, with its defaults. Writes what it received as JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "Hi" }];
const model = "gpt-primary";
const tools = JSON.parse(process.env.TOOLS ?? "[]");
const result = {};

switch (process.env.FEATURE) {
  case "answer": {
    const completion = await client.chat.completions.create({ model, messages });
    result.text = completion.choices[0].message.content;
    result.tokens = completion.usage.total_tokens;
    result.models = (await client.models.list()).data.map((each) => each.id);
    break;
  }
  case "stream": {
    result.text = "";
    const stream = await client.chat.completions.create({
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      result.text += chunk.choices[0]?.delta.content ?? "";
      result.tokens = chunk.usage?.total_tokens ?? result.tokens;
    }
    break;
  }
  case "tools": {
    const completion = await client.chat.completions.create({ model, messages, tools });
    result.plain = completion.choices[0].message.tool_calls[0].function;
    const stream = client.chat.completions.stream({ model, messages, tools });
    result.streamed = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0].function;
    break;
  }
  case "errors": {
    for (const [name, body] of Object.entries({
      model: { model: "gpt-9", messages },
      temperature: { model, messages, temperature: 9 },
    })) {
      const error = await client.chat.completions.create(body).catch((each) => each);
      result[name] = [error.constructor.name, error.status, error.code, error.param];
    }
    break;
  }
  case "failure": {
    result.text = "";
    try {
      for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
        result.text += chunk.choices[0]?.delta.content ?? "";
      }
    } catch (error) {
      result.error = error.constructor.name;
      result.message = error.message;
    }
    break;
  }
}
process.stdout.write(JSON.stringify(result));
