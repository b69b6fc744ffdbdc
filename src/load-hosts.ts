import { need } from './base/assert.ts';
import { abortable, childController, settleAll } from './base/cancellation.ts';
import { CommunicationError } from './base/errors.ts';
import { parseHosts } from './config/host-syntax.ts';
import { NodeConfig } from './config/parallel-config.ts';
import type { Connector, Executor, LoadPlace, NodeFacts, NodeProbe } from './parallel/ports.ts';

interface LoadHost {
  readonly executor: Executor;
  readonly facts: NodeFacts;
}

/** Hosts that make load and serve nothing: connected when they are needed, one connection each. */
export class LoadHosts implements AsyncDisposable {
  readonly #open = new Map<string, Promise<LoadHost>>();
  readonly #parts: { readonly connector: Connector; readonly probe: NodeProbe };
  readonly #like: NodeConfig;
  readonly #stop = childController();

  /** They are reached as `like`, but for what is said of them. */
  constructor(parts: { readonly connector: Connector; readonly probe: NodeProbe }, like: NodeConfig) {
    this.#parts = parts;
    this.#like = like;
  }

  /** @throws CommunicationError, ConfigurationError */
  async at(place: Exclude<LoadPlace, 'master' | 'controller'>, signal: AbortSignal): Promise<LoadHost> {
    return abortable(this.#open.get(place) ?? this.#begin(place), signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new CommunicationError('the study has ended'));
    const opened = await Promise.allSettled(this.#open.values());
    await settleAll(
      opened.map(async (one) => {
        if (one.status === 'fulfilled') await one.value.executor[Symbol.asyncDispose]();
      }),
    );
  }

  /** For all who wait: whoever asked first may give up. */
  async #begin(place: string): Promise<LoadHost> {
    const opening = this.#connect(place, this.#stop.signal);
    this.#open.set(place, opening);
    const forget = (): void => {
      if (this.#open.get(place) === opening) this.#open.delete(place);
    };
    opening.then(({ executor }) => executor.lost.addEventListener('abort', forget, { once: true }), forget);
    return opening;
  }

  async #connect(place: string, signal: AbortSignal): Promise<LoadHost> {
    const said = need(parseHosts(place.slice('host:'.length)).hosts[0], 'load host');
    const { ssh_port: port, username, identity_file, known_hosts_file, ssh_config, work_dir } = this.#like;
    const node = new NodeConfig({
      ...{ host: said.host, ssh_port: said.port ?? port, username: said.user ?? username },
      ...{ identity_file, known_hosts_file, ssh_config, work_dir },
    });
    const executor = await this.#parts.connector.connect(node, signal, { retry: true });
    try {
      return { executor, facts: await this.#parts.probe.inspect(executor, node, signal) };
    } catch (error) {
      await executor[Symbol.asyncDispose]();
      throw error;
    }
  }
}
