import type { Rng } from '../../base/rng.ts';

/** n points of [0,1)^d with exactly one in each of n slices of every coordinate. */
export function latinHypercube(n: number, dimensions: number, rng: Rng): number[][] {
  const columns = Array.from({ length: dimensions }, () =>
    shuffled(n, rng).map((slice) => (slice + rng.next()) / n),
  );
  return Array.from({ length: n }, (_, row) => columns.map((column) => column[row] as number));
}

function shuffled(n: number, rng: Rng): number[] {
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(rng.next() * (i + 1));
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

/** Standard normal by Box and Muller. */
export function normal(rng: Rng): number {
  return Math.sqrt(-2 * Math.log(1 - rng.next())) * Math.cos(2 * Math.PI * rng.next());
}
