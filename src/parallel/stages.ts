import type { Clock } from '../base/clock.ts';
import { ms, toSeconds, type Ms } from '../base/units.ts';
import { need } from '../base/assert.ts';
import type { Executor, HttpProbe, Until } from './ports.ts';
import type { WatchedProcess } from './running-service.ts';

/** What waiting for a stage needs. The signal carries the reason why waiting is over. */
export interface StageContext {
  readonly clock: Clock;
  readonly http: HttpProbe;
  readonly signal: AbortSignal;
  readonly processes: readonly WatchedProcess[];
  readonly silenceTimeout: Ms;
  executor(rank: number): Executor;
  address(rank: number): string;
  silent(seconds: number): Error;
  /** Whether anything of the service is alive, or may be alive without being ours. */
  alive(): Promise<boolean>;
  vanished(): Error;
}

const shortest = 2;
const longest = 1000;

/** Short at first, then 1 % of what has passed: a start is noticed well within 2 % of its length. */
function pause(elapsed: Ms): Ms {
  return ms(Math.min(longest, Math.max(shortest, elapsed * 0.01)));
}

async function poll(context: StageContext, ready: () => Promise<boolean>): Promise<void> {
  const { clock, signal } = context;
  const began = clock.now();
  let nextLook = began;
  for (;;) {
    signal.throwIfAborted();
    if (await ready()) return;
    signal.throwIfAborted();
    const now = clock.now();
    if (now >= nextLook) {
      nextLook = ms(now + 1000);
      await checkSigns(context, now);
    }
    await clock.sleep(pause(ms(now - began)), signal);
  }
}

/** A start is alive as long as its log grows; one that returned must have left something running. */
async function checkSigns(context: StageContext, now: Ms): Promise<void> {
  const { processes } = context;
  const newest = Math.max(...processes.map(({ process }) => process.lastOutput));
  if (now - newest > context.silenceTimeout) throw context.silent(toSeconds(ms(now - newest)));
  const main = need(processes.at(-1), 'process').process;
  const mainExit = await Promise.race([main.exited, Promise.resolve(undefined)]);
  if (mainExit?.kind === 'code' && mainExit.code === 0 && !(await context.alive())) throw context.vanished();
}

export async function untilHealthy(
  probe: { readonly url: string; readonly expectStatus: number },
  context: StageContext,
): Promise<void> {
  await poll(
    context,
    async () => (await context.http.status(probe.url, context.signal)) === probe.expectStatus,
  );
}

/** Resolves when the stage has got as far as it says. */
export async function reached(until: Until, context: StageContext): Promise<void> {
  switch (until.kind) {
    case 'started':
      return;
    case 'port':
      return poll(context, async () =>
        context.http.listens(context.address(until.rank), until.port, context.signal),
      );
    case 'command':
      return poll(context, async () => succeeds(until.rank, until.command, context));
    case 'log':
      return poll(context, async () => {
        const watched = need(
          context.processes.find(({ rank }) => rank === until.rank),
          'process',
        );
        return Promise.resolve(watched.process.tail.some((line) => line.includes(until.text)));
      });
    case 'http':
      return untilHealthy(until, context);
  }
}

async function succeeds(
  rank: number,
  command: Parameters<Executor['run']>[0],
  context: StageContext,
): Promise<boolean> {
  try {
    await context.executor(rank).run(command, { signal: context.signal, timeout: ms(30_000) });
    return true;
  } catch {
    context.signal.throwIfAborted();
    return false;
  }
}
