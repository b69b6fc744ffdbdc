import type { Command } from '../parallel/ports.ts';
import { quote } from './quote.ts';

/** A script as a command; messages call it by its label. */
export function shell(script: string, label: string): Command {
  return { argv: ['sh', '-c', script], label };
}

/** The shell scripts that run on nodes. They need nothing but POSIX sh, coreutils, setsid and /proc. */

/** Reads the fields of /proc/PID/stat behind the name, which may contain anything: $1 is the state then. */
export const statFields = `stat_of() { { IFS= read -r line; } 2>/dev/null <"/proc/$1/stat" || return 1; set -f; set -- \${line##*) }; set +f; state=$1 parent=$2 pgrp=$3 began=\${20}; }`;

/** Tells its process group on a first line of stderr, without a fork. */
const tellGroup = `{ IFS= read -r s; } </proc/$$/stat; set -f; set -- \${s##*) }; set +f; group=$3; echo "pgid $group" >&2; set --
`;

/** A command that goes on when its connection ends, up to its own end. */
export const untied = (text: string): string => tellGroup + text;

/** A command that is ended with its connection: when its stdin, which is left open, closes. */
export function tied(text: string, input: string): string {
  return `${tellGroup}exec 3<&0 </dev/null
( while IFS= read -r word; do :; done; trap '' TERM; kill -s TERM -- -$group; sleep 2; kill -s KILL -- -$group ) <&3 3<&- >/dev/null 2>&1 &
${input === '' ? '' : `printf %s ${quote(input)} | `}(
${text}) 3<&-
code=$?
kill -s KILL $! 2>/dev/null
wait $! 2>/dev/null # what is a zombie in a job step of Slurm is waited for
exit $code
`;
}

/** Takes a script of so many bytes from stdin: on a command line others could read its environment. */
export const fromInput = (bytes: number): string => `s=$(head -c ${bytes}; echo .); eval "\${s%.}"`;

/** TERM for a process group, KILL after the grace. dash has no `kill -TERM -- -PGID`, hence -s. */
export function groupKiller(pgid: number, graceMs: number): string {
  return `kill -s TERM -- -${pgid} 2>/dev/null
i=0
while kill -s 0 -- -${pgid} 2>/dev/null && [ $i -lt ${Math.ceil(graceMs / 50)} ]; do sleep 0.05; i=$((i+1)); done
kill -s KILL -- -${pgid} 2>/dev/null
:
`;
}

/** Names identities of processes (`pid:start time`) that carry the token, for the reaper. */
export const knownVariable = 'OPTIMIZER_KNOWN';

/** A command that ends what carries a token, beginning with the `known`. */
export function reaping(text: string, known: readonly string[], label: string): Command {
  const command = shell(text, label);
  return known.length === 0 ? command : { ...command, env: { [knownVariable]: known.join(' ') } };
}

/**
 * Ends everything of our user whose environment carries the token: TERM to it and its process groups, grace, KILL.
 * Prints what is still there as `pid name` lines. A zombie has an empty environment and counts as gone.
 *
 * Looking for the token reads the environment of every process of the machine, so those in `knownVariable` are ended
 * first, and while waiting only those found so far are looked at; the last word has a search.
 */
export function reaper(token: string, graceMs: number): string {
  return `${finder(token)}
alive() { for p in $pids; do stat_of $p && [ "$state" != Z ] && return 0; done; return 1; }
signal() {
  for p in $pids; do
    stat_of $p || continue
    [ "$pgrp" -gt 1 ] && [ "$pgrp" != "$own" ] && [ "$p" = "$pgrp" ] && kill -s $1 -- -$pgrp 2>/dev/null
    kill -s $1 $p 2>/dev/null
  done
}
stat_of $$ && own=$pgrp
pids= waited=0 n=0
for k in $${knownVariable}; do
  stat_of \${k%:*} && [ "$state" != Z ] && [ "$began" = "\${k#*:}" ] && pids="$pids \${k%:*}"
done
[ -n "$pids" ] || find_all
while [ -n "$pids" ] && [ $n -lt 100 ]; do
  if [ $waited -lt ${Math.ceil(graceMs)} ]; then
    signal TERM
    # Most end while they are looked for.
    find_all
    [ -n "$pids" ] || continue
    pause=0.005 step=5
    while alive && [ $waited -lt ${Math.ceil(graceMs)} ]; do
      sleep $pause
      waited=$((waited+step))
      [ $waited -gt 50 ] && pause=0.05 step=50
    done
  else
    signal KILL
    n=$((n+1))
    alive && sleep 0.02
  fi
  find_all
done
for p in $pids; do IFS= read -r name <"/proc/$p/comm" && echo "$p $name"; done
:
`;
}

/** Ends guardians of what was proven gone: they must not take what is started next for it. */
export function dismissal(token: string): string {
  return `for f in $(grep -la -- ${quote(`OPTIMIZER_GUARDIAN=${token}`)} /proc/[0-9]*/environ 2>/dev/null); do
  p=\${f#/proc/}; p=\${p%/environ}
  [ -O "/proc/$p" ] && [ "$p" != $$ ] && kill -s KILL $p 2>/dev/null
done
:
`;
}

/** Prints the number of living processes with the token. */
export function counter(token: string): string {
  return `${finder(token)}\nfind_all; set -- $pids; echo $#`;
}

/**
 * Defines find_all, which sets pids: those of our user whose environment carries the token. A process that is just
 * becoming another program has no environment for a moment, so that nothing is gone before a second look.
 */
function finder(token: string): string {
  return `${statFields}
find_all() { look; [ -n "$pids" ] || look; }
look() {
  pids=
  for f in $(grep -la -- ${quote(`OPTIMIZER_TOKEN=${token}`)} /proc/[0-9]*/environ 2>/dev/null); do
    p=\${f#/proc/}; p=\${p%/environ}
    [ -O "/proc/$p" ] && [ "$p" != $$ ] && stat_of $p && [ "$state" != Z ] && pids="$pids $p"
  done
}`;
}

/**
 * Prints a line `pid|run|group|token|controller|name|boot` for each process of our user that carries any token, and
 * `guardian TOKEN` for each guardian.
 */
export const census = `${statFields}
IFS= read -r boot </proc/sys/kernel/random/boot_id
for f in $(grep -laE -- 'OPTIMIZER_(TOKEN|GUARDIAN)=' /proc/[0-9]*/environ 2>/dev/null); do
  p=\${f#/proc/}; p=\${p%/environ}
  [ -O "/proc/$p" ] && stat_of $p && [ "$state" != Z ] || continue
  run= group= rank= controller= token= guardian=
  tr '\\0' '\\n' <"$f" 2>/dev/null | {
    while IFS= read -r v; do
      case $v in
        OPTIMIZER_RUN_ID=*) run=\${v#*=};; OPTIMIZER_GROUP=*) group=\${v#*=};; NODE_RANK=*) rank=\${v#*=};;
        OPTIMIZER_CONTROLLER=*) controller=\${v#*=};; OPTIMIZER_TOKEN=*) token=\${v#*=};;
        OPTIMIZER_GUARDIAN=*) guardian=\${v#*=};;
      esac
    done
    IFS= read -r name <"/proc/$p/comm"
    [ -z "$guardian" ] || echo "guardian $guardian"
    [ -n "$token" ] && echo "$p|$run|$group|$token|$controller|$name|$boot"
  }
done
:
`;
