import { createRng } from '../base/rng.ts';
import { systemClock } from '../base/clock.ts';
import { ModelEvalStateError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import type { NodeConfig } from '../config/parallel-config.ts';
import { retryDelay, shouldRetry, type RetryPolicy } from '../core/resilience/retry-policy.ts';
import type { Connector, Executor } from '../parallel/ports.ts';
import { LocalTransport } from './local-transport.ts';
import { ShellExecutor } from './shell-executor.ts';
import { sshSettings } from './ssh-settings.ts';
import { jumpHosts, type SshOptions } from './ssh-connect.ts';
import { SlurmTransport } from './slurm-transport.ts';
import { SshTransport } from './ssh-transport.ts';

/** A full sshd (MaxStartups) refuses some of many connects at once: they get in a little later. */
const connectRetries: RetryPolicy = {
  maxRetries: 3,
  initialDelay: ms(150),
  maxDelay: ms(2000),
  exponentialBase: 3,
  jitter: 0.5,
};

export interface ConnectOptions extends SshOptions {
  readonly retry: boolean;
}

/** Runs commands on a node over one SSH connection. */
export class RemoteExecutor extends ShellExecutor {
  /**
   * With `retry`, tries again while the cause may pass; never after a refused login or host key.
   * @throws CommunicationError, ConfigurationError
   */
  static async connect(
    node: NodeConfig,
    signal: AbortSignal,
    options: ConnectOptions = { acceptNewHostKeys: false, connectTimeoutMs: 30_000, retry: true },
  ): Promise<RemoteExecutor> {
    const settings = sshSettings(node);
    const rng = createRng(process.pid).fork(node.host);
    for (let attempt = 0; ; attempt++) {
      const began = systemClock.now();
      try {
        return new RemoteExecutor(await SshTransport.connect(settings, options, signal));
      } catch (error) {
        signal.throwIfAborted();
        // One that did not answer for so long will not answer a moment later.
        const isSilent = systemClock.now() - began >= options.connectTimeoutMs;
        const hopeless = isSilent || (error instanceof ModelEvalStateError && error.blame === 'operator');
        if (hopeless || !options.retry || !shouldRetry(attempt, connectRetries)) throw error;
        await systemClock.sleep(retryDelay(attempt, connectRetries, rng.next()), signal);
      }
    }
  }
}

/** Runs commands on this machine. */
export class LocalExecutor extends ShellExecutor {
  constructor() {
    super(new LocalTransport());
  }
}

export function sshConnector(options: { readonly acceptNewHostKeys: boolean }): Connector {
  const alone = { ...options, connectTimeoutMs: 15_000 };
  const ssh = { ...alone, jumps: jumpHosts(alone) };
  return {
    connect: async (node, signal, { retry }) => RemoteExecutor.connect(node, signal, { ...ssh, retry }),
  };
}

/** Runs commands on a node of an allocation of Slurm, each as a job step. */
export class SlurmExecutor extends ShellExecutor {
  /** @throws CommunicationError */
  static async connect(job: string, { host }: NodeConfig, signal: AbortSignal): Promise<SlurmExecutor> {
    return new SlurmExecutor(await SlurmTransport.connect(job, host, signal));
  }
}

export const slurmConnector = (job: string): Connector => ({
  connect: async (node, signal) => SlurmExecutor.connect(job, node, signal),
});

/** The controller, for what runs beside the studies. */
export const thisMachine = (): Executor => new LocalExecutor();

export const localConnector: Connector = {
  connect: async () => Promise.resolve(new LocalExecutor()),
};
