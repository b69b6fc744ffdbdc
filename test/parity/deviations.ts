import { execFileSync } from 'node:child_process';
import { registry } from '../../src/compose.ts';
import { parseToml } from '../../src/config/toml.ts';
import { pick, validate } from '../../src/config/validate.ts';
import { script } from '../../src/remote/quote.ts';
import { play } from './lifecycle.ts';
import { fitness, type PerformanceIndex } from '../../src/core/fitness/fitness.ts';
import { isConstant, rangeToEnum, validateField, type Field } from '../../src/core/space/field.ts';
import { mapParamWithValue } from '../../src/core/space/mapping.ts';
import { placeParams } from '../../src/core/space/config-document.ts';
import { parseHostfile, parseNodeString, type HostGroups } from '../../src/config/host-lists.ts';
import { scheduled } from '../../src/core/pso/strategy.ts';
import { recommend } from '../../src/core/fitness/recommend.ts';
import { violations } from '../../src/core/fitness/slo.ts';
import { close, decode, refuses, same, type Case, type Deviation } from './compare.ts';
import { breakerOf, field, replayBreaker } from './subjects.ts';

/**
 * Where we differ from the original on purpose. Each says which bug it mends (docs/from-the-original.md) and asserts
 * what we do in its place.
 */

const hostPart = /^[^\s,;#@/\\'"[\]{}()<>|&$`!*?]+$/;
const lines = (text: string): string[] =>
  text
    .split(/\r\n|\r|\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
const parts = (text: string): string[] =>
  text
    .split(/[:,]/)
    .map((part) => part.trim())
    .filter((part) => part !== '');
/** Hosts between blanks and commas, which the original took for one; a user may stand before them. */
const separate = (line: string): string[] => line.split(/[ \t,]+/).map((word) => word.replace(/^\w+@/, ''));
const names = ({ groups }: HostGroups): string[] =>
  groups.flatMap(({ hosts }) => hosts.map(({ host }) => host));
const hasDuplicates = (hosts: string[]): boolean => new Set(hosts).size < hosts.length;
const isPlain = (host: string): boolean => hostPart.test(host) && !/^[^:]+:\d+$/.test(host);

const mindieField = (input: Case, position: RegExp): boolean =>
  (input.normalized as Field[]).some((one) => position.test(one.config_position));

function numbersOf(value: unknown): string[] {
  return String(value).split('.');
}

export const deviations: Readonly<Record<string, readonly Deviation[]>> = {
  'hostfile.json': [
    {
      reason: 'D-host-syntax',
      applies: ({ text }) =>
        text !== null &&
        [text.startsWith('\uFEFF'), lines(text).some((host) => !isPlain(host))].includes(true),
      check: (input) => {
        const bare = input.text.replace(/^\uFEFF/, '').replace(/\s#.*$/gm, '');
        const read = (): HostGroups => parseHostfile(input.text, input.nodes_per_group);
        const hosts = lines(bare).flatMap(separate);
        if (hosts.every(isPlain)) same(names(read()), hosts);
        else refuses(read);
      },
    },
    {
      reason: 'D-duplicate-host',
      applies: ({ text }) => text !== null && hasDuplicates(lines(text)),
      check: (input) => refuses(() => parseHostfile(input.text, input.nodes_per_group)),
    },
  ],
  'node_string.json': [
    {
      reason: 'D-host-syntax',
      applies: ({ text }) => parts(text).some((host) => !hostPart.test(host)),
      check: ({ text }) => {
        const hosts = parts(text).flatMap(separate);
        if (hosts.every(isPlain)) same(names(parseNodeString(text)), hosts);
        else if (text === 'a[0-3]') same(names(parseNodeString(text)), ['a0', 'a1', 'a2', 'a3']);
        else refuses(() => parseNodeString(text));
      },
    },
    {
      reason: 'D-duplicate-host',
      applies: ({ text }) => hasDuplicates(parts(text)),
      check: ({ text }) => refuses(() => parseNodeString(text)),
    },
  ],
  'build_command.json': [
    {
      reason: 'P14',
      applies: ({ env, cwd }) => /[^\w/.,-]/.test(`${cwd ?? ''}${Object.values(env ?? {}).join('')}`),
      check: ({ env, cwd }) => {
        const where = cwd === '/w d' ? {} : { cwd: cwd ?? '/' };
        for (const [name, value] of Object.entries(env as Record<string, string>)) {
          const text = script({ argv: ['printenv', name], env, ...where });
          same(execFileSync('sh', ['-c', text], { encoding: 'utf8' }), `${value}\n`);
        }
        if (cwd === '/w d') same(script({ argv: ['x'], cwd }).startsWith("cd '/w d' ||"), true);
      },
    },
  ],
  'lifecycle.json': [
    {
      reason: 'P0',
      applies: ({ name }) => name.startsWith('no benchmark'),
      check: () => refuses(() => pick('benchmark', 'none', registry.benchmarks)),
    },
    {
      reason: 'P9',
      applies: ({ name }) => name.startsWith('refresh'),
      // Nothing has to be refreshed: a group that failed once stays in use until its circuit opens.
      check: async (input) => {
        const { records, usable } = await play(input);
        same([records.map(({ verdict }) => verdict.kind), usable], [['failed'], 1]);
      },
    },
    {
      reason: 'P12',
      applies: ({ plan }) => plan.write_fail === true,
      check: async (input) => {
        const { records } = await play(input);
        same(
          records.map(({ verdict }) => verdict.kind),
          ['failed'],
        );
      },
    },
  ],
  'settings.json': [
    {
      reason: 'D-unknown-key',
      applies: ({ toml }) => toml?.includes('bogus') === true,
      check: ({ toml }) =>
        refuses(() => validate({ values: parseToml('config.toml', toml), origin: {}, files: [] }, registry)),
    },
  ],
  'best_params.json': [
    {
      reason: 'O6',
      applies: (input) =>
        input.ttft_penalty !== 0 && input.tpot_penalty === 0 && input.performance.length > 0,
      check: (input) => {
        const { ttft_penalty, tpot_penalty, ttft_upper_bound: limit, performance } = decode(input) as Case;
        const slos = { ttft_penalty, tpot_penalty, ttft_slo: limit, tpot_slo: 1 };
        const all = { ...slos, success_rate_penalty: 0, success_rate_slo: 1, generate_speed_target: 1 };
        const measured = (performance as PerformanceIndex[]).map((one) => ({
          performance: one,
          violations: violations(one, all),
        }));
        const within = measured.filter(({ performance: p }) => (p.time_to_first_token ?? Infinity) <= limit);
        const speeds = within.map(({ performance: p }) => p.generate_speed ?? 0);
        const best = recommend(measured);
        if (within.length === 0) same(best, undefined);
        else same(best?.performance.generate_speed ?? 0, Math.max(...speeds));
      },
    },
  ],
  'pso_options_strategy.json': [
    {
      reason: 'O2',
      applies: ({ strategy }) => strategy === 'exp_decay',
      check: ({ start }) => {
        const all = { w: 'exp_decay', c1: 'exp_decay', c2: 'exp_decay' } as const;
        close(scheduled(start, all, 0).w, start.w);
        close(scheduled(start, all, 1).w, 0.4);
        for (let at = 0; at <= 1; at += 0.1) same(scheduled(start, all, at).c2, start.c2);
      },
    },
  ],
  'map_param_with_value.json': [
    {
      reason: 'F2',
      applies: (input) =>
        mindieField(input, /supportSelectBatch/) && mindieField(input, /(prefill|decode)TimeMsPerReq/),
      check: (input) => {
        const fields = (input.normalized as Case[]).map(field);
        const values = mapParamWithValue(decode(input.position) as number[], fields);
        const selector = fields.find((one) => one.config_position.includes('supportSelectBatch'))!;
        const times = fields.filter((one) => /(prefill|decode)TimeMsPerReq/.test(one.config_position));
        if (values.get(selector.name) === false)
          same(
            times.map((one) => values.get(one.name)),
            times.map(() => 0),
          );
      },
    },
    {
      reason: 'F3',
      applies: (input) =>
        (input.normalized as Case[]).map(field).some((one) => {
          if (!isConstant(one) || ['int', 'float'].includes(one.dtype)) return false;
          return typeof one.value === 'number'
            ? !Number.isInteger(one.value)
            : one.dtype === 'bool' && one.value === true;
        }),
      check: (input) => {
        const fields = (input.normalized as Case[]).map(field);
        const values = mapParamWithValue(decode(input.position) as number[], fields);
        for (const one of fields) {
          if (isConstant(one) && ['enum', 'bool'].includes(one.dtype) && one.value !== true)
            same(values.get(one.name), one.value);
          if (isConstant(one) && one.dtype === 'bool' && one.value === true) same(values.get(one.name), true);
        }
      },
    },
  ],
  'field_to_param.json': [],
  'field_validation.json': [
    {
      reason: 'F1',
      applies: ({ input }) =>
        input.dtype === 'share' || (input.dtype !== undefined && !knownDtypes.includes(input.dtype)),
      check: ({ input }) => {
        const given = field({ ...defaults, ...input });
        if (input.dtype === 'share') same(validateField(given).dtype, 'share');
        else refuses(() => validateField(given));
      },
    },
  ],
  'range_to_enum.json': [
    {
      reason: 'F5',
      applies: ({ step }) => Number(step) < 0,
      check: ({ min, max, step }) =>
        refuses(() => rangeToEnum(field({ ...defaults, min, max, dtype: 'range', dtype_param: step }))),
    },
  ],
  'fitness.json': [
    {
      reason: 'F4',
      applies: (input) => {
        const { performance_index: p, settings: s } = decode(input) as Case;
        if (p === null) return false;
        const on = (value: unknown, penalty: number): boolean =>
          penalty !== 0 && (value === null || value === undefined || Number.isNaN(value));
        return on(p.time_to_first_token, s.ttft_penalty) || on(p.time_per_output_token, s.tpot_penalty);
      },
      check: (input) => {
        const { performance_index: p, settings: s } = decode(input) as Case;
        refuses(() => fitness({ throughput: null, ...p }, s));
      },
    },
  ],
  'params_to_config_dict.json': [
    {
      reason: 'P13',
      applies: ({ params }) =>
        (params as Case[]).some(({ config_position: position }) => {
          const keys = numbersOf(position);
          return keys.some((key, i) => keys.indexOf(key) !== i);
        }),
      check: ({ params }) => {
        const document = placeParams(
          Object.fromEntries(params.map((one: Case) => [one.name, one.value])),
          params,
        );
        for (const { config_position: position, value } of params as Case[]) {
          const found = numbersOf(position).reduce<unknown>(
            (at, key) => (at as Record<string, unknown>)[key],
            document,
          );
          same(found, value);
        }
      },
    },
  ],
  'circuit_breaker.json': [
    {
      reason: 'P8',
      applies: (input) => {
        const { sawHalfOpenOutcome, sawFailureWhileOpen } = replayBreaker(input);
        return sawHalfOpenOutcome || sawFailureWhileOpen;
      },
      check: (input) => {
        const breaker = breakerOf(input.config);
        const policy = input.config;
        // Whatever happened before: after the cool-down it lets trials through, and enough successes close it.
        for (let i = 0; i < policy.failure_threshold; i++) breaker.fail();
        same(breaker.state === 'closed', false);
        breaker.tick(policy.timeout_seconds);
        for (let i = 0; i < policy.success_threshold; i++) {
          same(breaker.admits(), true);
          breaker.enter();
          breaker.succeed();
        }
        same(breaker.state, 'closed');
      },
    },
  ],
  'storage.json': [],
};

const knownDtypes = ['bool', 'enum', 'env', 'factories', 'float', 'int', 'range', 'ratio', 'share'];

export const defaults = {
  name: 'max_batch_size',
  config_position: 'BackendConfig.ScheduleConfig.maxBatchSize',
  min: 0,
  max: 100,
  dtype: 'float',
  value: 0,
  dtype_param: null,
  constant: null,
};
