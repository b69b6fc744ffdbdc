import { execFileSync } from 'node:child_process';

/** Worker threads and the command line are run compiled: build what is tested. */
export default function build(): void {
  execFileSync('npm', ['run', '--silent', 'build'], { stdio: ['ignore', 'ignore', 'inherit'] });
}
