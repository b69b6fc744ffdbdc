/** One word of a POSIX shell, whatever it contains but NUL. The only place where anything is quoted. */
export function quote(word: string): string {
  if (word.includes('\0')) throw new RangeError('A command cannot contain NUL');
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

const variableName = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** `export` statements; names that are no variable names are refused. */
export function exports(env: Readonly<Record<string, string>>): string {
  return Object.entries(env)
    .map(([name, value]) => {
      if (!variableName.test(name)) throw new RangeError(`Not a name of an environment variable: ${name}`);
      return `export ${name}=${quote(value)}\n`;
    })
    .join('');
}

/** The command as text that others may follow; what is a script already needs no shell of its own. */
export function body(command: Parameters<typeof script>[0]): string {
  const { argv, cwd, env } = command;
  const [program, option, text] = argv;
  const isBare = cwd === undefined && env === undefined && argv.length === 3;
  return isBare && program === 'sh' && option === '-c' && text !== undefined
    ? `${text}\n`
    : `(\n${script(command)})\n`;
}

/**
 * The command as the text of a shell script.
 * @param through shell text of a program that becomes the command
 */
export function script(
  command: {
    readonly argv: readonly string[];
    readonly cwd?: string;
    readonly env?: Readonly<Record<string, string>>;
  },
  through = '',
): string {
  const cd = command.cwd === undefined ? '' : `cd ${quote(command.cwd)} || exit 72\n`;
  return `${exports(command.env ?? {})}${cd}exec ${through}${command.argv.map(quote).join(' ')}\n`;
}
