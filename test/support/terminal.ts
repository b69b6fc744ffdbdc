import { execFileSync, spawnSync } from 'node:child_process';

/** A terminal of so many columns and rows with a shell in it, on a server of its own. */
export class Terminal implements Disposable {
  static #count = 0;
  readonly #socket = `optimizer-test-${process.pid}-${Terminal.#count++}`;

  constructor(columns: number, rows: number) {
    this.#tmux(
      'new-session',
      '-d',
      '-x',
      String(columns),
      '-y',
      String(rows),
      'env -u CI TERM=tmux-256color PS1="$ " sh',
    );
  }

  #tmux(...words: readonly string[]): string {
    return execFileSync('tmux', ['-L', this.#socket, '-f', '/dev/null', ...words], { encoding: 'utf8' });
  }

  type(line: string): void {
    this.#tmux('send-keys', '-l', line);
    this.#tmux('send-keys', 'Enter');
  }

  press(...keys: readonly string[]): void {
    this.#tmux('send-keys', ...keys);
  }

  resize(columns: number, rows: number): void {
    this.#tmux('resize-window', '-x', String(columns), '-y', String(rows));
  }

  /** What is seen, without the empty lines below. */
  get screen(): string {
    return this.#tmux('capture-pane', '-p').trimEnd();
  }

  /** The same with the codes of its colours. */
  get coloured(): string {
    return this.#tmux('capture-pane', '-e', '-p').trimEnd();
  }

  /** What was pushed out above it. */
  get history(): string {
    return this.#tmux('capture-pane', '-p', '-S', '-', '-E', '-1').trimEnd();
  }

  [Symbol.dispose](): void {
    spawnSync('tmux', ['-L', this.#socket, 'kill-server']);
  }
}
