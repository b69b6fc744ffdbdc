import { mean, sum } from 'simple-statistics';
import { studentCdf, studentQuantile } from './student.ts';

/**
 * How far a measurement can be believed. Repeated measurements scatter by a factor, alike for all configurations of a
 * study: what all repeats of all of them say of it is pooled.
 */
export interface Noise {
  /** Of one measurement, on the scale of natural logarithms: 0.03 is 3 %. */
  readonly sd: number;
  readonly degrees: number;
}

/** Positive measurements, a list a configuration; undefined where none was repeated. */
export function pooledNoise(repeats: readonly (readonly number[])[]): Noise | undefined {
  const logs = repeats.filter(({ length }) => length > 1).map((values) => values.map(Math.log));
  const degrees = sum(logs.map(({ length }) => length - 1));
  if (degrees === 0) return undefined;
  const squares = logs.map((values) => {
    const middle = mean(values);
    return sum(values.map((value) => (value - middle) ** 2));
  });
  return { sd: Math.sqrt(sum(squares) / degrees), degrees };
}

export interface Interval {
  readonly low: number;
  readonly high: number;
}

const logMean = (values: readonly number[]): number => mean(values.map(Math.log));

/**
 * Where the (geometric) mean of as many new measurements lies with probability `level`: the interval of a prediction,
 * t · sd · √(2/n) to either side.
 */
export function rerunInterval(values: readonly number[], { sd, degrees }: Noise, level = 0.95): Interval {
  const half = studentQuantile((1 + level) / 2, degrees) * sd * Math.sqrt(2 / values.length);
  const middle = logMean(values);
  return { low: Math.exp(middle - half), high: Math.exp(middle + half) };
}

/** Where the true value behind `a` is, in units of the one behind `b`: t · sd · √(1/n + 1/m) to either side. */
export function ratioInterval(
  a: readonly number[],
  b: readonly number[],
  { sd, degrees }: Noise,
  level = 0.95,
): Interval {
  const half = studentQuantile((1 + level) / 2, degrees) * sd * Math.sqrt(1 / a.length + 1 / b.length);
  const middle = logMean(a) - logMean(b);
  return { low: Math.exp(middle - half), high: Math.exp(middle + half) };
}

/** That the true value behind `a` is above the one behind `b`, with nothing known beforehand: Student's t. */
export function probabilityAbove(a: readonly number[], b: readonly number[], { sd, degrees }: Noise): number {
  const error = sd * Math.sqrt(1 / a.length + 1 / b.length);
  const difference = logMean(a) - logMean(b);
  if (error === 0) return difference === 0 ? 0.5 : Number(difference > 0);
  return studentCdf(difference / error, degrees);
}
