import { ConfigValidationError } from '../base/errors.ts';
import type { Field, ServingParams } from '../core/space/field.ts';
import { field } from './fields.ts';

/** How a model is spread over the devices of a group. */
export interface Layout {
  readonly tp: number;
  readonly pp: number;
  readonly dp: number;
  /** Experts are spread over all of them. */
  readonly ep: boolean;
}

/** One field for all of them: most combinations of three whole numbers are no layout. */
export const layoutField = 'LAYOUT';

export function layoutText({ tp, pp, dp, ep }: Layout): string {
  return `tp${tp}${pp > 1 ? `pp${pp}` : ''}${dp > 1 ? `dp${dp}` : ''}${ep ? 'ep' : ''}`;
}

/** @throws ConfigValidationError for a text that is no layout */
export function parseLayout(text: string): Layout {
  const match = /^tp(\d+)(?:pp(\d+))?(?:dp(\d+))?(ep)?$/.exec(text);
  if (match === null) {
    throw new ConfigValidationError(
      layoutField,
      text,
      `'${text}' is no layout: write it like tp8, tp8pp2 or tp2dp8ep`,
    );
  }
  const [, tp = '1', pp = '1', dp = '1', ep] = match;
  return { tp: Number(tp), pp: Number(pp), dp: Number(dp), ep: ep !== undefined };
}

const divisors = (n: number): number[] =>
  Array.from({ length: n }, (_, i) => i + 1).filter((d) => n % d === 0 && Number.isInteger(Math.log2(d)));

export interface LayoutRules {
  readonly nodes: number;
  readonly devicesPerNode: number;
  /** What spans the nodes: nothing, pipeline stages (or one wide tensor), or replicas of the attention. */
  readonly across: 'none' | 'pipeline' | 'data';
  /** A mixture of experts. */
  readonly experts: boolean;
}

/** Every layout that uses all devices, tensor parallelism within a node first. */
export function legalLayouts({ nodes, devicesPerNode, across, experts }: LayoutRules): Layout[] {
  const within = divisors(devicesPerNode).reverse();
  const plain = ((): Layout[] => {
    switch (across) {
      case 'none':
        return within.map((tp) => ({ tp, pp: 1, dp: devicesPerNode / tp, ep: false }));
      case 'pipeline':
        return [
          ...within.map((tp) => ({ tp, pp: (nodes * devicesPerNode) / tp, dp: 1, ep: false })),
          ...(nodes > 1 ? [{ tp: nodes * devicesPerNode, pp: 1, dp: 1, ep: false }] : []),
        ].filter(({ pp }) => pp <= 2 * nodes);
      case 'data':
        return within.map((tp) => ({ tp, pp: 1, dp: (nodes * devicesPerNode) / tp, ep: false }));
    }
  })();
  return experts ? plain.flatMap((one) => [{ ...one, ep: true }, one]) : plain;
}

/** Layouts that the user wants, as far as they are possible. @throws ConfigValidationError */
export function checkedLayouts(
  texts: readonly string[],
  { nodes, devicesPerNode, across }: Omit<LayoutRules, 'experts'>,
  engine: string,
): string[] {
  const devices = nodes * devicesPerNode;
  for (const text of texts) {
    const { tp, pp, dp } = parseLayout(text);
    const wrong = (why: string): ConfigValidationError =>
      new ConfigValidationError('layouts', text, `${engine}.layouts: '${text}' ${why}`);
    if (tp * pp * dp !== devices) throw wrong(`uses ${tp * pp * dp} devices, and a group has ${devices}`);
    if (across === 'data' && (pp > 1 || dp % nodes !== 0))
      throw wrong(`does not put the same number of replicas on each of ${nodes} nodes`);
    if (across === 'pipeline' && nodes > 1 && dp > 1)
      throw wrong('has replicas, which need distributed = "dp"');
  }
  return [...texts];
}

export function fieldOfLayouts(layouts: readonly string[], present: string): Field {
  return field.oneOf(layoutField, layouts, present);
}

/** The layout that a trial runs with: of the one field, else of the fields by size, else `usual`. */
export function layoutOf(params: ServingParams, usual: Layout): Layout {
  const whole = params[layoutField];
  if (typeof whole === 'string') return parseLayout(whole);
  const size = (name: string): number | undefined => {
    const value = params[name];
    return value === undefined ? undefined : Number(value);
  };
  return {
    tp: size('TENSOR_PARALLEL_SIZE') ?? usual.tp,
    pp: size('PIPELINE_PARALLEL_SIZE') ?? usual.pp,
    dp: size('DATA_PARALLEL_SIZE') ?? usual.dp,
    ep: params['ENABLE_EXPERT_PARALLEL'] === undefined ? usual.ep : params['ENABLE_EXPERT_PARALLEL'] === true,
  };
}
