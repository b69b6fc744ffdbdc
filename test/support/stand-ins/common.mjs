// What all stand-ins share: they take the flags that the vendor declares, and tell the test what they were given.
import { appendFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const fixtures = new URL('../../fixtures/cli/', import.meta.url);

export const vendor = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, fixtures), 'utf8'));

/** One line a start, for the test to read. */
export function witness(tool, argv, more = {}) {
  const file = process.env.STANDIN_WITNESS;
  if (file === undefined) return;
  const line = { tool, argv, pid: process.pid, env: process.env, ...more };
  appendFileSync(file, `${JSON.stringify(line)}\n`);
}

/** Flags by their long names, or the words of argparse for one that it does not know. */
export function parse(program, declared, argv) {
  const byName = new Map();
  for (const [name, flag] of Object.entries(declared)) {
    for (const one of [name, ...(flag.aliases ?? [])]) byName.set(one, { name, ...flag });
  }
  const given = {};
  const rest = [];
  for (let i = 0; i < argv.length; i++) {
    const [word, inline] = argv[i].startsWith('--') ? argv[i].split(/=(.*)/s) : [argv[i]];
    const flag = byName.get(word);
    if (flag === undefined) {
      if (/^--?[A-Za-z]/.test(word)) fail(program, `unrecognized arguments: ${argv.slice(i).join(' ')}`);
      rest.push(argv[i]);
      continue;
    }
    if (flag.value === 'none') {
      given[flag.name] = true;
      continue;
    }
    const takes = flag.value === 'many' ? argv.slice(i + 1).findIndex((next) => next.startsWith('-')) : 1;
    const count = takes === -1 ? argv.length - i - 1 : takes;
    const value = inline ?? argv[i + 1];
    if (value === undefined) fail(program, `argument ${word}: expected one argument`);
    if (flag.choices !== undefined && !flag.choices.map(String).includes(value)) {
      fail(program, `argument ${word}: invalid choice: '${value}' (choose from ${flag.choices.join(', ')})`);
    }
    if (inline === undefined) i += flag.value === 'many' ? count : 1;
    if (flag.repeat || given[flag.name] === undefined) given[flag.name] = value;
    else given[flag.name] = [given[flag.name], value].flat();
  }
  return { given, rest };
}

function fail(program, text) {
  process.stderr.write(`usage: ${program} [-h] …\n${program}: error: ${text}\n`);
  process.exit(2);
}

export const state = () => {
  const directory = process.env.STANDIN_STATE ?? '/nonexistent';
  mkdirSync(directory, { recursive: true });
  return directory;
};

/** A rendezvous of several processes by files: real engines do it over sockets. */
export function join_(key, rank) {
  writeFileSync(join(state(), `${key}.${rank}`), String(process.pid));
}

const lives = (pid) => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z');
  } catch {
    return false;
  }
};

/** How many members of a rendezvous are there and alive. */
export function members(key) {
  return readdirSync(state()).filter(
    (name) => name.startsWith(`${key}.`) && lives(readFileSync(join(state(), name), 'utf8')),
  ).length;
}

export async function until(condition, limitMs = 20_000) {
  const end = Date.now() + limitMs;
  while (!condition()) {
    if (Date.now() > end) return false;
    await new Promise((again) => setTimeout(again, 30));
  }
  return true;
}

export function waitForTerm(onTerm = () => undefined) {
  setInterval(() => undefined, 60_000);
  for (const name of ['SIGTERM', 'SIGINT']) {
    process.on(name, () => {
      onTerm();
      process.exit(0);
    });
  }
}
