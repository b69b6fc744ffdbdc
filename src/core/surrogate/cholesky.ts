/** A lower triangle, row by row: row i has i + 1 entries. */
export type Triangle = readonly Float64Array[];

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
    let sum = row[j] as number;
    for (let k = 0; k < j; k++) sum -= (next[k] as number) * (other[k] as number);
    const entry = sum / (other[j] as number);
    next[j] = entry;
    left -= entry * entry;
  }
  next[n] = Math.sqrt(Math.max(least, left));
  return next;
}

/** x with L·x = b. */
export function solveLower(lower: Triangle, b: Float64Array): Float64Array {
  const x = new Float64Array(b.length);
  for (let i = 0; i < b.length; i++) {
    const row = lower[i] as Float64Array;
    let sum = b[i] as number;
    for (let k = 0; k < i; k++) sum -= (row[k] as number) * (x[k] as number);
    x[i] = sum / (row[i] as number);
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
