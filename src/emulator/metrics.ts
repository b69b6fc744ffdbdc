import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ServingSettings } from '../core/serving/hardware.ts';
import type { ReplicaSet } from '../core/serving/cluster.ts';

/** `/metrics` under vLLM's names. */
export class EngineMetrics {
  readonly #registry = new Registry();
  readonly #success: Counter;
  readonly #ttft: Histogram;
  readonly #itl: Histogram;
  readonly #e2e: Histogram;

  constructor(set: ReplicaSet, settings: ServingSettings, model: string) {
    const registers = [this.#registry];
    this.#registry.setDefaultLabels({ model_name: model, engine: '0' });
    const gauge = (name: string, help: string, read: () => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    };
    const counter = (name: string, help: string, read: () => number): void => {
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    };
    const sum = (of: (replica: ReplicaSet['replicas'][number]) => number): number =>
      set.replicas.reduce((total, replica) => total + of(replica), 0);
    const histogram = (name: string, help: string, buckets: number[]): Histogram =>
      new Histogram({ name, help, registers, buckets });

    gauge('vllm:num_requests_running', 'Requests in execution', () => sum(({ running }) => running));
    gauge('vllm:num_requests_waiting', 'Requests waiting', () => sum(({ waiting }) => waiting));
    gauge(
      'vllm:kv_cache_usage_perc',
      'KV-cache usage, 1 is full',
      () => sum(({ cacheUsage }) => cacheUsage) / set.replicas.length,
    );
    counter('vllm:num_preemptions_total', 'Preemptions', () => set.counters.preemptions);
    counter('vllm:prompt_tokens_total', 'Prefill tokens', () => set.counters.promptTokens);
    counter('vllm:generation_tokens_total', 'Generation tokens', () => set.counters.generationTokens);
    this.#success = new Counter({
      name: 'vllm:request_success_total',
      help: 'Finished requests',
      labelNames: ['finished_reason'],
      registers,
    });
    const short = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.5, 1];
    const long = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80];
    this.#ttft = histogram('vllm:time_to_first_token_seconds', 'Time to first token', long);
    this.#itl = histogram('vllm:inter_token_latency_seconds', 'Between two tokens', short);
    this.#e2e = histogram('vllm:e2e_request_latency_seconds', 'End to end latency', long);
    new Gauge({
      name: 'vllm:cache_config_info',
      help: 'Information of the cache configuration',
      labelNames: ['block_size', 'gpu_memory_utilization', 'enable_prefix_caching', 'num_gpu_blocks'],
      registers,
    }).set(
      {
        block_size: settings.block_size,
        gpu_memory_utilization: settings.gpu_memory_utilization,
        enable_prefix_caching: 'False',
        num_gpu_blocks: set.replicas[0]?.totalBlocks ?? 0,
      },
      1,
    );
  }

  finished(ttftS: number, e2eS: number, tokens: number): void {
    this.#success.inc({ finished_reason: 'length' });
    this.#ttft.observe(ttftS);
    this.#e2e.observe(e2eS);
    if (tokens > 1) this.#itl.observe((e2eS - ttftS) / (tokens - 1));
  }

  async text(): Promise<{ readonly type: string; readonly body: string }> {
    return { type: this.#registry.contentType, body: await this.#registry.metrics() };
  }
}
