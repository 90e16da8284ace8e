// The AI SDK with its provider for compatible APIs. Writes what it received as JSON.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "chatbot",
  baseURL: process.env.BASE_URL,
  apiKey: process.env.API_KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider("gpt-primary");
const prompt = "Hi";
const result = {};

switch (process.env.FEATURE) {
  case "answer": {
    const answer = await generateText({ model, prompt, maxRetries: 0 });
    result.text = answer.text;
    result.tokens = answer.usage.totalTokens;
    break;
  }
  case "stream": {
    const answer = streamText({ model, prompt, maxRetries: 0 });
    result.text = "";
    for await (const piece of answer.textStream) result.text += piece;
    result.tokens = (await answer.usage).totalTokens;
    break;
  }
  case "tools": {
    const tools = {
      get_weather: tool({ description: "Weather.", inputSchema: z.object({ city: z.string() }) }),
    };
    const answer = await generateText({ model, prompt, tools, maxRetries: 0 });
    result.plain = answer.toolCalls[0].input;
    const streamed = streamText({ model, prompt, tools, maxRetries: 0 });
    result.streamed = (await streamed.toolCalls)[0].input;
    break;
  }
  case "object": {
    const schema = z.object({ city: z.string(), degrees: z.number() });
    result.object = (await generateObject({ model, prompt, schema, maxRetries: 0 })).object;
    break;
  }
  case "failure": {
    result.text = "";
    const answer = streamText({
      model,
      prompt,
      maxRetries: 0,
      onError: ({ error }) => {
        result.message = error?.message ?? String(error);
      },
    });
    for await (const part of answer.fullStream) {
      if (part.type === "text-delta") result.text += part.text;
      if (part.type === "error") result.error = true;
    }
    break;
  }
}
process.stdout.write(JSON.stringify(result));
