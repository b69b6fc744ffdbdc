/** A lower triangle, row by row: row i has i + 1 entries. */
export type Triangle = readonly Float64Array[];

/** Of the first n entries. Four sums side by side: one alone waits for itself with every addition. */
export function dot(a: Float64Array, b: Float64Array, n: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let k = 0;
  for (; k + 3 < n; k += 4) {
    s0 += (a[k] as number) * (b[k] as number);
    s1 += (a[k + 1] as number) * (b[k + 1] as number);
    s2 += (a[k + 2] as number) * (b[k + 2] as number);
    s3 += (a[k + 3] as number) * (b[k + 3] as number);
  }
  for (; k < n; k++) s0 += (a[k] as number) * (b[k] as number);
  return s0 + s1 + (s2 + s3);
}

/** What is left of a variance that rounding has eaten up. */
const least = 1e-10;

/**
 * The next row of the Cholesky factor of a matrix that has grown by a row and a column: `row` are its covariances with
 * what is there, `diagonal` is its own variance. Row by row this is the whole factorisation, to the last bit.
 */
export function nextRow(lower: Triangle, row: Float64Array, diagonal: number): Float64Array {
  const n = lower.length;
  const next = new Float64Array(n + 1);
  let left = diagonal;
  for (let j = 0; j < n; j++) {
    const other = lower[j] as Float64Array;
    const entry = ((row[j] as number) - dot(next, other, j)) / (other[j] as number);
    next[j] = entry;
    left -= entry * entry;
  }
  next[n] = Math.sqrt(Math.max(least, left));
  return next;
}

/** x with L·x = b; `into` may be b itself. */
export function solveLower(
  lower: Triangle,
  b: Float64Array,
  into: Float64Array = new Float64Array(b.length),
): Float64Array {
  const x = into;
  for (let i = 0; i < b.length; i++) {
    const row = lower[i] as Float64Array;
    x[i] = ((b[i] as number) - dot(row, x, i)) / (row[i] as number);
  }
  return x;
}

/** x with Lᵀ·x = b. */
export function solveUpper(lower: Triangle, b: Float64Array): Float64Array {
  const x = Float64Array.from(b);
  for (let i = b.length - 1; i >= 0; i--) {
    const row = lower[i] as Float64Array;
    const xi = (x[i] as number) / (row[i] as number);
    x[i] = xi;
    for (let k = 0; k < i; k++) x[k] = (x[k] as number) - (row[k] as number) * xi;
  }
  return x;
}
