import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import * as errors from '../../src/base/errors.ts';
import { ms } from '../../src/base/units.ts';
import { registry } from '../../src/compose.ts';
import { readConfig } from '../../src/config/sources.ts';
import { knownKeys, validate } from '../../src/config/validate.ts';
import { play } from './lifecycle.ts';
import {
  parseHostfile,
  parseNodeString,
  readHostfile,
  type HostGroups,
} from '../../src/config/host-lists.ts';
import { NodeConfig, ParallelConfig, ServiceGroupConfig } from '../../src/config/parallel-config.ts';
import { fillTemplate } from '../../src/config/url-template.ts';
import { cost } from '../../src/core/fitness/fitness.ts';
import { GenerationSwarm } from '../../src/core/pso/generation.ts';
import { nearestBounds, nextVelocity, periodicBounds, reflectiveBounds } from '../../src/core/pso/step.ts';
import { retryDelay, shouldRetry } from '../../src/core/resilience/retry-policy.ts';
import { recommend, closest } from '../../src/core/fitness/recommend.ts';
import { violations } from '../../src/core/fitness/slo.ts';
import type { PerformanceIndex } from '../../src/core/fitness/fitness.ts';
import { scheduled } from '../../src/core/pso/strategy.ts';
import { FineTune } from '../../src/core/tuning/fine-tune.ts';
import { fieldsInTwoStages } from '../../src/core/tuning/load-fields.ts';
import {
  batchBounds,
  guided,
  kvBytesPerToken,
  kvCacheGb,
  peakActivationBytes,
  weightsMb,
} from '../../src/engines/mindie/bounds.ts';
import { isConstant, type Field } from '../../src/core/space/field.ts';
import { placeParams } from '../../src/core/space/config-document.ts';
import { rangeToEnum, validateField } from '../../src/core/space/field.ts';
import { valueText } from '../../src/core/space/format.ts';
import { indivisible } from '../../src/core/space/derived.ts';
import { fieldToParam, findAvailableValue, mapParamWithValue } from '../../src/core/space/mapping.ts';
import { csvHeader, csvRow } from '../../src/runs/csv.ts';
import { close, decode, refuses, same, type Case } from './compare.ts';
import { defaults } from './deviations.ts';
import { breakerOf, field, remoteCommand } from './subjects.ts';

const fieldsOf = (list: Case[]) => list.map(field);

function groupsOf({ groups }: HostGroups, npusPerNode: number): unknown {
  const made = ParallelConfig.fromHosts(groups, { npusPerNode });
  return made.service_groups.map((group) => ({
    group_id: group.group_id,
    hosts: group.nodes.map((node) => node.host),
    npu_ids: group.nodes.map((node) => node.npu_ids),
    ssh_ports: group.nodes.map((node) => node.ssh_port ?? 22),
  }));
}

function values(list: Case[]): unknown {
  return list.map(({ name, value }) => [name, decode(value)]);
}

function group(kwargs: Case): ServiceGroupConfig {
  const count: number = kwargs.nodes ?? 2;
  const nodes = Array.from(
    { length: count },
    (_, i) => new NodeConfig({ host: `h${i}`, npu_ids: [0, 1, 2, 3, 4] }),
  );
  return new ServiceGroupConfig({ ...kwargs, nodes });
}

function made(input: Case): { toString(): string } {
  if (input.class === 'NodeConfig') return new NodeConfig(input.kwargs);
  if (input.class === 'ServiceGroupConfig') return group(input.kwargs);
  const { g = 0, ...options } = input.kwargs;
  const groups = Array.from({ length: g }, (_, i) => group({ group_id: i }));
  return new ParallelConfig({ ...options, service_groups: groups });
}

function runSwarm(input: Case): void {
  const c = decode(input) as Case;
  // Two pairs at construction, one more for the move after a resume.
  const drawn = c.draws.slice(c.breakpoint_pos === null ? 4 : 6);
  const best =
    c.start_best_pos.length === 0 ? undefined : { position: c.start_best_pos, cost: c.start_best_cost };
  const swarm = new GenerationSwarm(
    { position: c.start_position, velocity: c.start_velocity, best },
    { coefficients: { c1: 2, c2: 2, w: 1.8 }, lower: c.lb, upper: c.ub, ftol: c.ftol, ftolIter: c.ftol_iter },
  );
  let stopped = false;
  let iteration = 0;
  for (; iteration < c.iters && !stopped; iteration++) {
    same(swarm.position, c.evaluated_positions[iteration]);
    stopped = swarm.score(c.costs[iteration]);
    same(swarm.best?.cost, c.cost_history.at(iteration - c.iterations_run));
    if (!stopped) swarm.move(drawn[2 * iteration].values, drawn[2 * iteration + 1].values);
  }
  same(iteration, c.iterations_run);
  same(swarm.best?.cost, c.final_cost);
}

/** Keys of a table that the configuration of a case gives. */
function sameWhereGiven({ toml, env }: Case, key: string, ours: Case, theirs: Case): void {
  const given = `${toml ?? ''}${JSON.stringify(env).toLowerCase()}`;
  if (!given.includes(key)) return;
  for (const name of Object.keys(ours ?? {}).filter((one) => one !== 'store_dir'))
    same(ours[name], theirs[name]);
}

/** Top-level values that mean the same here and there. */
const plainSettings = [
  'n_particles',
  'iters',
  'particles_time_out',
  'ftol',
  'ftol_iter',
  'ttft_penalty',
  'tpot_penalty',
  'success_rate_penalty',
  'ttft_slo',
  'tpot_slo',
  'success_rate_slo',
  'slo_coefficient',
  'generate_speed_target',
  'sample_size',
  'mem_coefficient',
  'max_fine_tune',
  'scaling_coefficient',
  'step_size',
  'theory_guided_enable',
  'service',
] as const;

const nothing: PerformanceIndex = {
  generate_speed: null,
  time_to_first_token: null,
  time_per_output_token: null,
  success_rate: null,
  throughput: null,
};

const someSlos = { success_rate_penalty: 0, success_rate_slo: 1, generate_speed_target: 1 };

const errorClasses = errors as unknown as Record<string, new (...args: Case[]) => errors.ModelEvalStateError>;

/** One function a file; it throws where we and the vector differ. */
export const adapters: Readonly<Record<string, (input: Case) => void | Promise<void>>> = {
  'exceptions.json': (c) => {
    const named = Object.values(c.kwargs as object);
    const error = new errorClasses[c.class]!(...c.args, ...named);
    same(error.message, c.message);
    same(error.details, c.details);
    same(error.toString(), c.str);
    const bases: string[] = [];
    for (let p = Object.getPrototypeOf(errorClasses[c.class]!); p?.name; p = Object.getPrototypeOf(p))
      bases.push(p.name);
    same(
      bases.map((name) => (name === 'Error' ? 'Exception' : name)),
      c.bases,
    );
  },
  'field_validation.json': (c) => {
    if (c.error === 'ValidationError') return void refusedBySchema(c.input);
    const given = field({ ...defaults, ...c.input });
    if (c.error !== undefined) {
      refuses(() => validateField(given));
      return;
    }
    const expected = field(c.field);
    const parsed = validateField({
      ...given,
      value: scalar(given.value),
      constant: given.constant === null ? null : scalar(given.constant),
    });
    same(parsed, expected);
  },
  'range_to_enum.json': (c) => {
    const result = rangeToEnum(
      field({ ...defaults, min: c.min, max: c.max, dtype: 'range', dtype_param: c.step }),
    );
    const {
      min,
      max,
      dtype,
      dtype_param,
      dtype_param_len: count,
      dtype_param_head: head,
      dtype_param_tail: tail,
    } = c.field;
    same([result.min, result.max, result.dtype], [min, max, dtype]);
    const list = result.dtype_param as number[];
    if (count === undefined) same(list, dtype_param ?? null);
    else same([list.length, list.slice(0, 3), list.slice(-3)], [count, head, tail]);
  },
  'map_param_with_value.json': (c) => {
    const mapped = mapParamWithValue(decode(c.position) as number[], fieldsOf(c.normalized));
    same([...mapped], values(c.values));
  },
  'upstream_map_param.json': (c) => {
    const given = fieldsOf(c.normalized);
    const context = c.context && {
      particle: c.context.particle_index,
      particles: c.context.n_particles,
      generation: c.context.iteration ?? 0,
    };
    const map = () => {
      const mapped = mapParamWithValue(decode(c.position) as number[], given, context ?? undefined);
      const why = indivisible(given, Object.fromEntries(mapped));
      if (why !== undefined) throw new Error(why);
      return mapped;
    };
    if (c.error !== undefined) {
      refuses(map);
      return;
    }
    const mapped = map();
    same([...mapped], values(c.values));
    const settled = given.map((one) => ({ ...one, value: mapped.get(one.name)! }));
    same(fieldToParam(settled).params, c.corrected_position);
  },
  'field_to_param.json': (c) => {
    if (c.error !== undefined) {
      refuses(() => fieldToParam(fieldsOf(c.normalized)));
      return;
    }
    const { params, fields } = fieldToParam(fieldsOf(c.normalized));
    same(params, decode(c.params));
    same(
      fields.map((one) => one.dtype_param),
      fieldsOf(c.fields_after).map((one) => one.dtype_param),
    );
    if (c.back_error !== undefined) refuses(() => mapParamWithValue(params, fields));
    else same([...mapParamWithValue(params, fields)], values(c.back));
  },
  'find_available_value.json': (c) => {
    const given = field({ ...defaults, ...c, value: 0, name: 'f', config_position: 'env' });
    const find = (): number => {
      const wanted = decode(c.value);
      if (wanted === null) throw new TypeError('no value');
      return findAvailableValue(given, wanted as number);
    };
    if (c.error !== undefined) refuses(find);
    else same(find(), decode(c.result));
  },
  'adapter_target_field.json': (c) => {
    const given = (c.fields as Case[]).map((one) => validateField(field({ ...defaults, ...one })));
    const inside = fieldsInTwoStages(given);
    same(
      inside.map(({ name, min, max, value, constant }) => [name, min, max, value, constant]),
      c.inside.map((one: Case) => [one.name, one.min, one.max, decode(one.value), decode(one.constant)]),
    );
    const open = inside.filter((one) => !isConstant(one as Field));
    same([open.map(({ min }) => min), open.map(({ max }) => max)], decode(c.bounds));
    same(open.length, c.dims);
  },
  'best_params.json': (c) => {
    const { ttft_penalty, tpot_penalty, ttft_upper_bound, tpot_upper_bound, performance } = decode(c) as Case;
    const slos = { ...someSlos, ttft_penalty, tpot_penalty };
    const limits = { ...slos, ttft_slo: ttft_upper_bound, tpot_slo: tpot_upper_bound };
    const measured = (performance as PerformanceIndex[]).map((one) => ({
      performance: one,
      violations: violations(one, limits),
    }));
    const best = recommend(measured) ?? closest(measured);
    same(best === undefined ? null : measured.indexOf(best), c.best_index);
  },
  'fine_tune.json': (c) => {
    const tuner = new FineTune(
      c.kwargs,
      (c.fields as Case[]).map((one) => field({ ...defaults, ...one })),
    );
    const given = (c.fields as Case[]).map((one) => field({ ...defaults, ...one }));
    for (const step of (c.steps ?? []) as Case[]) {
      const params = Object.fromEntries(mapParamWithValue(decode(step.params) as number[], given));
      const next = tuner.next(params, {
        ...nothing,
        time_to_first_token: decode(step.ttft) as number | null,
        time_per_output_token: decode(step.tpot) as number | null,
      });
      if (step.error !== undefined) {
        same(next, undefined);
        continue;
      }
      same(Object.entries(next ?? {}), values(step.fields_out));
    }
    if (c.init_error !== undefined) same(tuner.next({}, nothing), undefined);
  },
  'mindie_bounds.json': (c) => {
    const { model, mindie, npu_total_mem_mb, memory_usage_rate, mem_coefficient } = c;
    const device = {
      totalMb: npu_total_mem_mb,
      usedPercent: memory_usage_rate,
      memCoefficient: mem_coefficient,
    };
    close(kvBytesPerToken(model), c.one_token_cache);
    close(weightsMb(model), c.weights_mb);
    close(peakActivationBytes(model, mindie), c.peak_activation_bytes);
    close(kvCacheGb(model, mindie, device), c.mem_for_kv_cache_gb);
    const workload = { meanInput: c.avg_input_length, maxOutput: c.max_output_length_metric };
    const bounds = batchBounds(model, mindie, device, workload);
    same([bounds.lower, bounds.upper], c.bounds);
    const [min, max] = c.field_before;
    const after = guided(field({ ...defaults, min, max }), bounds, 1.3);
    same([after.min, after.max], c.field_after);
  },
  'pso_options_strategy.json': ({ strategy, iternow, itermax, start, result }) => {
    const all = { w: strategy, c1: strategy, c2: strategy };
    const now = scheduled(start, all, iternow / itermax);
    for (const name of ['w', 'c1', 'c2'] as const) close(now[name], result[name]);
  },
  'build_command.json': (c) => {
    const text = remoteCommand(c);
    const exported = Object.fromEntries(
      [...text.matchAll(/^export (\w+)=(.*)$/gm)].map(([, k, v]) => [k, v]),
    );
    const [, assignments = ''] = /^export (?!ASCEND)([^;]*);/.exec(c.result) ?? [];
    for (const pair of assignments.split(' ').filter(Boolean)) {
      const [name = '', value] = pair.split('=');
      same(exported[name], value);
    }
    same(exported.ASCEND_VISIBLE_DEVICES, /.*export ASCEND_VISIBLE_DEVICES=([\d,]*)/.exec(c.result)?.[1]);
    same(/^cd (\S+) \|\| exit/m.exec(text)?.[1], / cd (\S+) && /.exec(c.result)?.[1]);
  },
  'lifecycle.json': async (c) => {
    const played = await play(c);
    same(played.setupOk, c.setup_ok);
    const expected = (c.fitness[0] ?? []) as unknown[];
    same(
      played.records.map(({ verdict }) => verdict.kind === 'scored'),
      expected.map((one) => one !== 'inf'),
    );
    const connected = (log: readonly (readonly string[])[]): string[] =>
      log.filter(([what]) => what === 'connect').map(([, host]) => host ?? '');
    if (c.setup_ok === true) same(connected(played.log), connected(c.log));
    const starts = (log: readonly (readonly string[])[]): number =>
      log.filter(([what, , words]) => what === 'execute' && words?.includes('start_service.sh')).length;
    same(starts(played.log), starts(c.log));
  },
  'settings.json': (c) => {
    const directory = mkdtempSync(join(tmpdir(), 'optimizer-parity-'));
    try {
      if (c.toml !== null) writeFileSync(join(directory, 'config.toml'), c.toml);
      const read = () => {
        const surroundings = { cwd: directory, home: '/nonexistent', env: c.env };
        return validate(readConfig(undefined, knownKeys(registry), surroundings), registry);
      };
      const expected = decode(c.result) as Case;
      if (expected.__error__ !== undefined) {
        refuses(read);
        return;
      }
      const top = read() as Case;
      for (const key of plainSettings) same(top[key], expected[key]);
      same(resolve(directory, top.output), expected.output.replace('@CWD@', directory));
      const { enabled, evaluation_timeout, retry_count, retry_delay } = expected.parallel;
      same(
        [enabled, evaluation_timeout, retry_count, retry_delay],
        [
          top.parallel.enabled,
          top.parallel.evaluation_timeout,
          top.parallel.retry_count,
          top.parallel.retry_delay,
        ],
      );
      // O1, O3: the original never uses these; what is given counts.
      for (const key of ['pso_options', 'data_storage'] as const)
        sameWhereGiven(c, key, top[key], expected[key]);
      if (top.vllm !== undefined) {
        same(top.vllm.command.host, expected.vllm.command.host);
        same(top.vllm.target_field, expected.vllm.target_field);
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
  'fitness.json': (c) => {
    const { performance_index: p, settings, fitness: expected } = decode(c) as Case;
    const none = {
      generate_speed: null,
      time_to_first_token: null,
      time_per_output_token: null,
      success_rate: null,
    };
    close(cost({ throughput: null, ...(p ?? none) }, settings).sum, expected);
  },
  'pso_step.json': (c) => {
    const { options, lb, ub, position, velocity, pbest_pos, best_pos, r1, r2 } = decode(c) as Case;
    position.forEach((x: number[], i: number) => {
      const v = nextVelocity(
        { x, v: velocity[i] },
        { pbest: pbest_pos[i], gbest: best_pos },
        options,
        r1[i],
        r2[i],
      );
      same(v, (decode(c.new_velocity) as number[][])[i]);
      const moved = periodicBounds(
        x.map((xi, j) => xi + v[j]!),
        lb,
        ub,
      );
      same(moved, (decode(c.new_position) as number[][])[i]);
    });
  },
  'pso_bounds.json': (c) => {
    const { strategy, lb, ub, position, result } = decode(c) as Case;
    position.forEach((x: number[], i: number) => {
      if (strategy === 'periodic') same(periodicBounds(x, lb, ub), result[i]);
      else if (strategy === 'nearest') same(nearestBounds(x, lb, ub), result[i]);
      else same(reflectiveBounds({ x, v: x.map(() => 0) }, lb, ub).x, result[i]);
    });
  },
  'pso_run.json': runSwarm,
  'retry_delay.json': ({ policy: p, delays }) => {
    const { max_retries, initial_delay, max_delay, exponential_base, jitter } = p;
    const policy = {
      maxRetries: max_retries,
      initialDelay: ms(initial_delay * 1000),
      maxDelay: ms(max_delay * 1000),
      exponentialBase: exponential_base,
      jitter,
    };
    for (const { attempt, low, mid, high, should_retry } of delays) {
      close(retryDelay(attempt, policy, 0) / 1000, low, 1e-9);
      close(retryDelay(attempt, policy, 0.5) / 1000, mid, 1e-9);
      close(retryDelay(attempt, policy, 1) / 1000, high, 1e-9);
      same(shouldRetry(attempt, policy), should_retry);
    }
  },
  'circuit_breaker.json': (c) => {
    let breaker = breakerOf(c.config);
    for (const event of c.events as Case[]) {
      let result: unknown = null;
      if (event.op === 'tick') breaker.tick(event.seconds);
      else if (event.op === 'fail') breaker.fail();
      else if (event.op === 'ok') breaker.succeed();
      else if (event.op === 'reset') breaker = breakerOf(c.config);
      else if (event.op === 'state') result = breaker.state;
      else if (event.op === 'is_open') result = breaker.state === 'open';
      else {
        result = breaker.admits();
        if (result === true) breaker.enter();
      }
      same(result, event.result);
      if (event.op !== 'tick') same(breaker.circuit.failures, event.failure_count);
    }
  },
  'hostfile.json': (c) => {
    const { text, nodes_per_group: n, npus_per_node: npus, groups } = c;
    const read = (): unknown =>
      groupsOf(text === null ? readHostfile('/nonexistent/hosts', n) : parseHostfile(text, n), npus);
    if (c.error !== undefined) refuses(read);
    else same(read(), groups);
  },
  'node_string.json': (c) => {
    const read = (): unknown => groupsOf(parseNodeString(c.text), c.npus_per_node);
    if (c.error !== undefined) refuses(read);
    else same(read(), c.groups);
  },
  'config_validation.json': (c) => {
    if (c.ok === true) return same(String(made(c)), c.repr);
    let message = '';
    try {
      made(c);
    } catch (error) {
      message = String((error as errors.ModelEvalStateError).details['constraint']);
    }
    same(message, c.message);
  },
  'health_url.json': (c) => {
    if (c.error !== undefined) refuses(() => fillTemplate(c.template, c.host));
    else same(fillTemplate(c.template, c.host), c.url);
  },
  'params_to_config_dict.json': (c) => {
    const params = Object.fromEntries(c.params.map((one: Case) => [one.name, one.value]));
    if (c.error !== undefined) refuses(() => placeParams(params, c.params));
    else same(placeParams(params, c.params), c.config);
  },
  'storage.json': (c) => {
    const names: string[] = c.rows[0]?.params.map((one: Case) => one.name) ?? [];
    const rows = (c.rows as Case[]).map((row) => {
      const { performance_index: performance, params, extra, num_prompts } = decode(row) as Case;
      const cells = params.map((one: Case) => [
        one.name,
        valueText(one.value, { dtype: one.type === 'float' ? 'float' : 'int', value: 0 }),
      ]);
      return csvRow(
        { ...extra, performance, params: Object.fromEntries(cells), num_prompts, more: [] },
        names,
      );
    });
    const table = rows.length === 0 ? '' : csvHeader(names, []) + rows.join('');
    same(table.replaceAll('\r\n', '\n'), c.csv);
  },
};

function scalar(value: unknown): Case {
  if (value === 'true' || value === 'false') return value === 'true';
  return typeof value === 'string' && value.trim() !== '' && !Number.isNaN(Number(value))
    ? Number(value)
    : value;
}

async function refusedBySchema(input: Case): Promise<void> {
  const { fieldSchema } = await import('../../src/config/schema-tables.ts');
  if (fieldSchema.safeParse(input).success) throw new Error('the schema accepts it');
}
