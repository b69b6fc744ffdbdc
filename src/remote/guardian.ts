import { quote } from './quote.ts';
import { knownVariable, statFields } from './scripts.ts';

/** What is sent with a process to its node: how to start it, how to watch over it, and how to end it. */
export interface Guarded {
  readonly directory: string;
  readonly logFile: string;
  readonly token: string;
  /** The text that becomes the process, through `inSession`. */
  readonly command: string;
  /** Seconds without a word of the controller after which it is ended. */
  readonly leaseSeconds: number;
  /** Texts of commands that ask it to stop, each with the seconds that it may take. */
  readonly stop: readonly { readonly text: string; readonly seconds: number }[];
  /** Text of the command that ends what carries the token, and prints what is left. */
  readonly reap: string;
  /** Text of the command that prints how many processes with the token are alive. */
  readonly count: string;
  /** Texts of commands that put back what starting it changed. */
  readonly restore: readonly string[];
  /** Its start script returns with nothing of ours left, while the service goes on. */
  readonly detached: boolean;
}

/** Nobody who lost the connection comes back to a service: it has no purpose any more. It is noticed 3 s later at most. */
const aloneSeconds = 12;
/** Between two looks: a look is a process, on machines that measure. */
const pauseSeconds = (lease: number): number => Math.max(1, Math.min(3, Math.floor(lease / 8)));

/** Found before the process has its own PATH. */
export const inSession = '"$OPTIMIZER_SETSID" ';

/**
 * The guardian, in a session of its own: it starts the process in another one, tells on fd 4 `started PID:TIME` and,
 * when it ends, `exit CODE BYTES` with the size of its log by then; and it ends what is left when its lease is over, told
 * as `lost WHY`. SIGURG renews the lease: a signal needs no room on a full disk, and harms nobody who is not ready for it.
 */
export function guardian(guarded: Guarded): string {
  const { directory, logFile, token, leaseSeconds, command, stop, reap, count, restore, detached } = guarded;
  return `#!/bin/sh
umask 077
${statFields}
log_file=${quote(logFile)}
launcher=$PPID
trap : HUP INT TERM PIPE
trap renewed=1 URG
IFS=:
for path in $PATH; do [ -x "$path/setsid" ] && OPTIMIZER_SETSID=$path/setsid && break; done
unset IFS
(
  trap - HUP INT TERM PIPE URG
  (
unset OPTIMIZER_GUARDIAN
${command}) </dev/null >>"$log_file" 2>&1 4>&- &
  pid=$!
  stat_of $pid
  printf '{"pid":%s,"pgid":%s,"started":"%s","token":"%s","log":"%s"}\\n' $pid $pid "$began" ${quote(token)} "$log_file" >${quote(`${directory}/state.json`)}
  echo "started $pid:$began" >&4
  wait $pid 2>/dev/null
  code=$?
  echo "exit $code $(wc -c <"$log_file")" >&4
  exit $code
) &
keeper=$!

uptime() { IFS='. ' read -r up rest </proc/uptime; }
lives() { stat_of $1 && [ "$state" != Z ]; }
say() { echo "$(date '+%Y-%m-%dT%H:%M:%S%z') $*"; }
at_most() { n=0; while lives $2 && [ $n -lt $1 ]; do sleep 1; n=$((n+1)); done; kill -s KILL $2 2>/dev/null; }
none_left() { n=$(
${count}); [ "\${n:-1}" -eq 0 ]; }
end() {
  say "$1: ending" ${quote(token)}
  kill -s KILL $keeper 2>/dev/null
  echo "lost $1" >&4 2>/dev/null
  exec 4>&-
  stat_of $$ && [ "$parent" = $launcher ] && kill -s KILL -- -$launcher
${stop
  .map(
    ({ text, seconds }) => `  (
${text}) & at_most ${seconds} $!
`,
  )
  .join('')}  while left=$(
${reap}); [ -n "$left" ]; do say "still there: $left"; sleep 5; done
${restore
  .map(
    (text) => `  (
${text}) & at_most 60 $!
`,
  )
  .join('')}  say ended
  rm -f -- "$0"
  exit
}

uptime; heard=$up renewed= code= over= looked=0
while :; do
  sleep ${pauseSeconds(leaseSeconds)}
  uptime
  [ -n "$renewed" ] && renewed= heard=$up
  limit=${leaseSeconds} why="no word for ${leaseSeconds} s"
  stat_of $$
  if [ "$parent" != $launcher ]; then limit=${Math.min(aloneSeconds, leaseSeconds)} why='the connection is gone'; fi
  if [ -z "$code" ] && ! lives $keeper; then wait $keeper 2>/dev/null; code=$?; fi
  if [ -n "$code" ]; then
    # Who is there ends what is left by the rules, and says so; who is not is not waited for.
    [ "$code" = 0 ] || over=1
    # What a start script left behind is looked for now and then: the search reads all of /proc.
    if [ -z "$over" ] && [ $((up-looked)) -ge 5 ]; then looked=$up; ${detached ? ':' : 'none_left && over=1'}
    fi
    [ -z "$over" ] || { limit=${Math.min(aloneSeconds, leaseSeconds)} why="the process ended with code $code"; }
  fi
  [ $((up-heard)) -ge $limit ] && end "$why"
done
`;
}

/**
 * Takes the guardian's file from stdin and starts it, detached from this connection; then tells the log on stdout. A
 * word on stdin renews the lease. `end KNOWN` ends what carries the token, which saves a command, its channel and its
 * shells, and tells on stderr what is left, then `ended CODE`. `done` says that nobody needs a guardian any more;
 * `released` on stderr says that it is gone (the kernel takes 10 ms to end a `tail` that watches a file, and nobody has
 * to wait for that). When the connection ends (end of stdin), only the telling ends.
 */
export function launcher(
  files: Pick<Guarded, 'directory' | 'logFile' | 'token' | 'reap'> & { readonly bytes: number },
): string {
  const directory = quote(files.directory);
  return `umask 077
log=${quote(files.logFile)}
file=\${log%.log}.sh words=\${log%.log}.guardian.log
[ -d ${directory} ] || mkdir -p ${directory} || exit 73
head -c ${files.bytes} >"$file" && : >"$log" || exit 73
exec 3<&0 5>&2
OPTIMIZER_GUARDIAN=${quote(files.token)} setsid sh "$file" 4>&2 </dev/null >>"$words" 2>&1 3<&- 5>&- &
guardian=$!
tail -n +1 -f "$log" 2>/dev/null 3<&- 5>&- </dev/null &
tail=$!
while IFS= read -r word <&3; do
  case $word in
    done) kill -s KILL -- -$guardian; wait $guardian
      echo released >&5
      kill $tail
      if [ -s "$words" ]; then rm -f -- "$file"; else rm -f -- "$file" "$words"; fi
      exit;;
    'end '*) (
${knownVariable}=\${word#end }
${files.reap}echo "ended $?"
) >&5 3<&- </dev/null &;;
    *) kill -s URG $guardian;;
  esac
done 2>/dev/null
kill $tail
wait $tail 2>/dev/null
`;
}
