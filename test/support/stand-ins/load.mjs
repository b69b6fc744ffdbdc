// A small load of streamed completions: what a stand-in of a load tool measures is real.
export async function load({ baseUrl, model, prompts, concurrency, inputLen = 16, outputLen = 16 }) {
  const name = model || (await (await fetch(`${baseUrl}/v1/models`)).json()).data[0].id;
  const results = [];
  let next = 0;
  const began = performance.now();
  const lane = async () => {
    while (next < prompts) {
      const id = next++;
      const start = performance.now();
      try {
        const response = await fetch(`${baseUrl}/v1/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({
            model: name,
            prompt: `${id} ${'word '.repeat(inputLen)}`,
            max_tokens: outputLen,
            stream: true,
            stream_options: { include_usage: true },
          }),
        });
        let text = '';
        let first;
        for await (const chunk of response.body) {
          first ??= performance.now();
          text += Buffer.from(chunk).toString();
        }
        const end = performance.now();
        const tokens = Number(/"completion_tokens":(\d+)/.exec(text)?.[1]);
        if (!response.ok || Number.isNaN(tokens)) throw new Error(`HTTP ${response.status}`);
        results.push({
          ttft: first - start,
          e2el: end - start,
          tpot: (end - first) / Math.max(1, tokens - 1),
          tokens,
        });
      } catch (error) {
        results.push({ error: String(error) });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, prompts) }, lane));
  const seconds = (performance.now() - began) / 1000;
  const good = results.filter((one) => one.error === undefined);
  return {
    seconds,
    good,
    failed: results.length - good.length,
    tokens: good.reduce((sum, one) => sum + one.tokens, 0),
  };
}

export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}
