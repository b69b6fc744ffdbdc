import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fitness, type FitnessSettings, type PerformanceIndex } from '../../src/core/fitness/fitness.ts';
import { violations } from '../../src/core/fitness/slo.ts';
import { LoadSearch, type LoadOutcome, type LoadSearchOptions } from '../../src/core/load/load-search.ts';
import type { Field, ServingParams } from '../../src/core/space/field.ts';
import { withoutLoad } from '../../src/core/tuning/load-fields.ts';

const slos: FitnessSettings = {
  ...{ ttft_penalty: 1, tpot_penalty: 1, success_rate_penalty: 5 },
  ...{ ttft_slo: 1, tpot_slo: 0.05, success_rate_slo: 1, generate_speed_target: 5000 },
};

const field = (name: string, min: number, max: number, dtype: 'int' | 'float' = 'int'): Field => ({
  ...{ name, config_position: 'env', min, max, dtype, value: min, dtype_param: null, constant: null },
});
const concurrency = field('CONCURRENCY', 1, 512);
const rate = field('REQUESTRATE', 1, 500, 'float');

interface Service {
  /** Requests that it works on at the same time. */
  readonly slots: number;
  /** Seconds of a token with nobody else, and what every other request adds. */
  readonly tpot: number;
  readonly slope: number;
  /** Above it nothing comes back. */
  readonly limit?: number;
}

/** A queue: faster with more at the same time, then only slower to begin. */
function serve({ slots, tpot, slope, limit = Infinity }: Service, load: ServingParams): LoadOutcome {
  const asked = Number(load['CONCURRENCY']);
  if (asked > limit) return { kind: 'failed' };
  const busy = Math.min(asked, slots);
  const token = tpot + slope * busy;
  const speed = busy / token;
  const performance: PerformanceIndex = {
    generate_speed: speed,
    time_to_first_token: 0.05 + Math.max(0, asked - slots) * 0.05,
    time_per_output_token: token,
    success_rate: 1,
    throughput: speed / 100,
  };
  return {
    kind: 'measured',
    performance,
    fitness: fitness(performance, slos).fitness,
    violations: violations(performance, slos),
  };
}

function search(
  service: Service,
  options: Partial<LoadSearchOptions> = {},
): { loads: number[]; best: number | undefined } {
  const one = new LoadSearch({
    ...{ fields: [concurrency], start: { CONCURRENCY: 16 }, probes: 5, slos },
    ...options,
  });
  const loads: number[] = [];
  for (let load = one.next(); load !== undefined; load = one.next()) {
    loads.push(Number(load['CONCURRENCY']));
    one.tell(serve(service, load));
  }
  return { loads, best: one.best && Number(one.best.load['CONCURRENCY']) };
}

describe('the search for a load', () => {
  test('doubles while that pays, then bisects below what misses the SLOs', () => {
    // Within 50 ms a token up to 60 at the same time.
    const { loads, best } = search({ slots: 512, tpot: 0.02, slope: 0.0005 });
    expect(loads).toEqual([16, 32, 64, 45, 53]);
    expect(best).toBe(53);
  });

  test('goes down where the start misses its SLOs, the further the more it misses', () => {
    const { loads, best } = search(
      { slots: 512, tpot: 0.02, slope: 0.0005 },
      { start: { CONCURRENCY: 400 } },
    );
    expect(loads[1]).toBe(90);
    expect(best).toBeGreaterThan(40);
    expect(best).toBeLessThanOrEqual(60);
  });

  test('tries nothing above a load that failed', () => {
    const { loads, best } = search({ slots: 512, tpot: 0.01, slope: 0.0001, limit: 40 });
    expect(loads).toEqual([16, 32, 64, 45, 38]);
    expect(best).toBe(38);
  });

  test('stops where what lies between cannot pay', () => {
    // Full at 16: twice the load is no faster, only later.
    expect(search({ slots: 16, tpot: 0.02, slope: 0.0001 }).loads.length).toBeLessThanOrEqual(4);
    // Far behind the best configuration so far, whatever the load.
    const slow = { slots: 512, tpot: 0.02, slope: 0.0005 };
    expect(search(slow, { incumbent: 0.5 }).loads).toEqual([16, 32, 64]);
  });

  test('leaves a load alone that a rule of the study forbids', () => {
    const isAllowed = (load: ServingParams): boolean => Number(load['CONCURRENCY']) <= 40;
    const { loads, best } = search({ slots: 512, tpot: 0.01, slope: 0.0001 }, { isAllowed });
    expect(Math.max(...loads)).toBeLessThanOrEqual(40);
    expect(best).toBeGreaterThanOrEqual(32);
  });

  test('spreads arrivals at last, where requests come faster than they are served', () => {
    const options = { fields: [concurrency, rate], start: { CONCURRENCY: 16, REQUESTRATE: 500 } };
    const one = new LoadSearch({ ...options, probes: 6, slos });
    const asked: ServingParams[] = [];
    for (let load = one.next(); load !== undefined; load = one.next()) {
      asked.push(load);
      one.tell(serve({ slots: 16, tpot: 0.02, slope: 0.0001 }, load));
    }
    // 16 at 21.6 ms a token and 100 tokens a request: 7.4 requests a second, of which 95 %.
    expect(asked.at(-1)).toMatchObject({ CONCURRENCY: 16, REQUESTRATE: expect.closeTo(7.037, 2) as number });
  });

  test('goes from one value of a list to the next, where a factor leads to none', () => {
    const listed = { ...concurrency, dtype: 'enum' as const, dtype_param: [4, 32, 256] };
    const service = { slots: 512, tpot: 0.02, slope: 0.0005 };
    expect(search(service, { fields: [listed], start: { CONCURRENCY: 4 } })).toEqual({
      loads: [4, 32, 256],
      best: 32,
    });
    expect(search(service, { fields: [listed], start: { CONCURRENCY: 256 } }).best).toBe(32);
    const few = { ...concurrency, min: 1, max: 3 };
    expect(search(service, { fields: [few], start: { CONCURRENCY: 1 } }).best).toBe(3);
  });

  test('rules that forbid every load leave none', () => {
    const none = search({ slots: 8, tpot: 0.02, slope: 0 }, { isAllowed: () => false });
    expect(none).toEqual({ loads: [], best: undefined });
    const small = search(
      { slots: 8, tpot: 0.02, slope: 0 },
      { isAllowed: (load) => Number(load['CONCURRENCY']) <= 3 },
    );
    expect(small.best).toBeGreaterThan(1);
  });

  test('as fast as possible stays so, and rates follow what was served where nothing else can be changed', () => {
    const both = { fields: [concurrency, rate], start: { CONCURRENCY: 16, REQUESTRATE: 0 } };
    const service = { slots: 512, tpot: 0.02, slope: 0.0005 };
    const asked = (options: Pick<LoadSearchOptions, 'fields' | 'start'>): ServingParams[] => {
      const one = new LoadSearch({ ...options, probes: 4, slos });
      const loads: ServingParams[] = [];
      for (let load = one.next(); load !== undefined; load = one.next()) {
        loads.push(load);
        const outcome = serve(service, { CONCURRENCY: 200, ...load });
        one.tell(outcome);
      }
      return loads;
    };
    expect(asked(both).map((load) => load['REQUESTRATE'])).toEqual([0, 0, 0, 0]);
    const [first, second] = asked({ fields: [rate], start: { REQUESTRATE: 0 } });
    expect(first).toEqual({ REQUESTRATE: 0 });
    // 200 at 120 ms a token and 100 tokens a request: 16.7 served a second, and 1.4 × the SLO.
    expect(Number(second?.['REQUESTRATE'])).toBeGreaterThan(1);
    expect(Number(second?.['REQUESTRATE'])).toBeLessThan(16.7);
  });

  test('nothing that can be served: there is no best', () => {
    const { loads, best } = search({ slots: 1, tpot: 0.01, slope: 0, limit: 0 });
    expect(best).toBeUndefined();
    expect(loads).toEqual([16, 2, 1]);
  });

  test('whatever the service: few probes, each new and inside the bounds, and the best one of them', () => {
    const services = fc.record({
      slots: fc.integer({ min: 1, max: 600 }),
      tpot: fc.double({ min: 0.001, max: 0.2, noNaN: true }),
      slope: fc.double({ min: 0, max: 0.01, noNaN: true }),
      limit: fc.integer({ min: 1, max: 600 }),
    });
    const starts = fc.integer({ min: 1, max: 512 });
    fc.assert(
      fc.property(services, starts, fc.integer({ min: 1, max: 9 }), (service, CONCURRENCY, probes) => {
        const { loads, best } = search(service, { start: { CONCURRENCY }, probes });
        expect(loads.length).toBeLessThanOrEqual(probes);
        expect(new Set(loads).size).toBe(loads.length);
        expect(loads.every((load) => load >= 1 && load <= 512)).toBe(true);
        const failed = loads.filter((load) => load > service.limit);
        for (const [index, load] of loads.entries())
          expect(loads.slice(0, index).every((before) => before <= service.limit || load < before)).toBe(
            true,
          );
        expect(best === undefined).toBe(failed.length === loads.length);
        const within = loads
          .map((load) => serve(service, { CONCURRENCY: load }))
          .flatMap((outcome) =>
            outcome.kind === 'measured' && outcome.violations.length === 0 ? [outcome.fitness] : [],
          );
        if (within.length > 0 && best !== undefined) {
          const chosen = serve(service, { CONCURRENCY: best });
          expect(chosen).toMatchObject({ kind: 'measured', fitness: Math.min(...within) });
        }
      }),
    );
  });
});

test('a service is the same whatever its load', () => {
  expect(withoutLoad({ A: 1, CONCURRENCY: 2, MAXCONCURRENCY: 3, REQUESTRATE: 4 })).toEqual({ A: 1 });
});
