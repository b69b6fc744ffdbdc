import { expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { systemClock } from '../../src/base/clock.ts';
import { Condition, deferred } from '../../src/base/condition.ts';
import { createRng } from '../../src/base/rng.ts';
import { groupId, ms, trialId } from '../../src/base/units.ts';
import type { Evaluation } from '../../src/parallel/evaluation.ts';
import { ParticleDispatcher } from '../../src/parallel/particle-dispatcher.ts';
import type { RunStore } from '../../src/parallel/ports.ts';
import type { ServiceGroupPool } from '../../src/parallel/service-group-pool.ts';

test('the place of a trial is free once its result is known, and the trial is over once that is durable', async () => {
  const changed = new Condition();
  const pool = {
    ...{ size: 1, usable: 1, changed, report: () => undefined },
    lease: async () => Promise.resolve({ group: { id: groupId(0) }, [Symbol.dispose]: () => undefined }),
  } as unknown as ServiceGroupPool;
  const verdict = { kind: 'scored', fitness: 1, performance: {}, flags: [], violations: [] };
  const attempt = { ...{ start: ms(1), benchmark: ms(1), starts: 1 }, outcome: { measured: { verdict } } };
  const dispatcher = new ParticleDispatcher({
    ...{ pool, clock: systemClock, rng: createRng(1), found: undefined, broken: () => undefined },
    evaluation: { attempt: async () => Promise.resolve(attempt) } as unknown as Evaluation,
    retry: { max_retries: 0 } as never,
    events: { emit: () => undefined },
    store: { append: async () => Promise.resolve() } as unknown as RunStore,
    serverKey: () => 'key',
  });
  const durable = deferred<undefined>();
  const known = deferred<undefined>();
  let isOver = false;
  const asked = { ...{ trialId: trialId(0), particle: 0, generation: 0, position: [] }, params: { x: 1 } };
  const trial = dispatcher
    .evaluate(
      { ...asked, origin: 'initial' },
      async () => {
        known.resolve(undefined);
        await durable.promise;
      },
      never,
    )
    .then(() => (isOver = true));
  expect(dispatcher.hasRoom).toBe(false);
  await known.promise;
  await changed.wait(never);
  expect(dispatcher.hasRoom).toBe(true);
  expect(isOver).toBe(false);
  durable.resolve(undefined);
  await trial;
});
