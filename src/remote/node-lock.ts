import { hostname, userInfo } from 'node:os';
import { CommunicationError } from '../base/errors.ts';
import { ms, toSeconds } from '../base/units.ts';
import { controllerIdentity, controllerLives } from '../base/process-start.ts';
import type { NodeConfig } from '../config/parallel-config.ts';
import type { Claim, Command, Executor, NodeLock, TakenNode } from '../parallel/ports.ts';
import { factsOf, inspection, nodeProbe, unusable } from './node-inspection.ts';
import { quote, script } from './quote.ts';
import { shell, statFields } from './scripts.ts';

/** Where what it prints begins, and where it is over. */
const lines = { lock: '--- lock', census: '--- census', end: '--- end' } as const;

/**
 * Looks around, then holds the lock of a machine and work directory as long as stdin brings a line now and then. The
 * kernel lets go of it with the process, so a lock is never stale for longer than the lease. Prints `ours`, `shared` where another
 * connection of the same run holds it, or `held|run|user@host|since|controller|keeper`; where the node is ours, the
 * census follows. With `evict`, the keeper of a controller that is known to be gone is ended first.
 */
function holder(
  node: NodeConfig,
  { runId, since, lease, census }: Claim & { readonly census: Command },
  evict: string | undefined,
): string {
  const who = `${userInfo().username}@${hostname()}`;
  const seconds = Math.max(1, Math.ceil(toSeconds(lease)));
  // Between two looks: a look is a process, on machines that measure. A word that comes during one is heard after it,
  // and must not count the pause that it came in: hence it sets the count below 0.
  const pause = Math.max(1, Math.min(6, Math.floor(seconds / 20)));
  const claim = [runId, who, since, controllerIdentity()].map((word) => word.replaceAll('|', '_')).join('|');
  return `${inspection(node)}
echo '${lines.lock}'
${statFields}
IFS= read -r boot </proc/sys/kernel/random/boot_id
lock=$d/runs/.lock-$boot
exec 3<&0 9>>"$lock" || exit 73
${evict === undefined ? '' : `stat_of ${evict.replace(/:.*/, '')} && [ "$began" = ${quote(evict.replace(/.*:/, ''))} ] && kill -s KILL ${evict.replace(/:.*/, '')}; sleep 0.1`}
stat_of $$
me=$$:$began
# On a full disk who has it goes without a name.
take() { flock -n 9 || return 1; printf '%s|%s\\n' ${quote(claim)} $me >"$lock" || :; } 2>/dev/null
# Its name is that of a living process, or who has it is about to write another one.
holder() { IFS= read -r other <"$lock"; k=\${other##*|}; [ -n "$k" ] && stat_of "\${k%:*}" && [ "$began" = "\${k#*:}" ]; }
mine= tries=0
until take && mine=1 || holder || [ $tries -ge 40 ]; do sleep 0.05; tries=$((tries+1)); done
if [ -n "$mine" ]; then echo ours
elif [ -z "$other" ]; then echo full; echo '${lines.end}'; exit
elif [ "\${other%%|*}" = ${quote(runId)} ]; then echo shared
else echo "held|$other"; echo '${lines.end}'; exit
fi
echo '${lines.census}'
(
${script(census)}) </dev/null 3<&- 9>&- || exit 70
echo '${lines.end}'
(
  exec 9>&- 3<&-
  trap n=-${pause} URG
  n=0
  while [ $n -lt ${seconds} ]; do sleep ${pause}; n=$((n+${pause})); done
  kill -s KILL 0
) </dev/null >/dev/null 2>&1 &
while IFS= read -r word <&3; do
  kill -s URG $!
  # Who held it for this run may have gone.
  [ -n "$mine" ] || { take && mine=1; }
done
kill -s KILL 0
`;
}

/** Executors that have their node already: a group that is repaired keeps the connections that are left. */
const taken = new WeakSet<Executor>();

interface Answer extends TakenNode {
  readonly answer: string;
  /** Who has it. */
  readonly held: readonly string[];
}

/** What `holder` printed. */
function answerOf(printed: string, node: NodeConfig): Answer {
  const [seen = '', rest = ''] = printed.split(`${lines.lock}\n`, 2);
  const [lock = '', found = ''] = rest.split(`${lines.census}\n`, 2);
  const [answer = '', ...held] = lock.trim().split('|');
  return { answer, held, found, facts: factsOf(seen, node) };
}

export const nodeLock: NodeLock = {
  async take(executor, node, claim, signal) {
    const { host } = executor;
    if (taken.has(executor)) {
      const facts = await nodeProbe.inspect(executor, node, signal);
      const { stdout } = await executor.run(claim.census, { signal, timeout: ms(60_000) });
      return { facts, found: stdout };
    }
    const every = ms(Math.min(5000, claim.lease / 4));
    const ask = async (evict?: string): Promise<Answer> => {
      const command = shell(holder(node, claim, evict), 'taking the node');
      try {
        return answerOf(await executor.hold(command, { signal, every, until: lines.end }), node);
      } catch (error) {
        throw unusable(error, node);
      }
    };
    let told = await ask();
    const [, , , controller = '', keeper = ''] = told.held;
    if (told.answer === 'held' && controllerLives(controller) === false && /^\d+:\d+$/.test(keeper))
      told = await ask(keeper);
    const { workDir } = told.facts;
    if (told.answer === 'full') {
      throw new CommunicationError(
        `Nothing can be written in ${workDir}/runs of ${host}`,
        { host },
        { remedy: `Check the free space of ${workDir} on ${host}.` },
      );
    }
    if (told.answer === 'held') throw inUse(host, told.held, claim);
    taken.add(executor);
    return told;
  },
};

function inUse(host: string, [run, user, since]: readonly string[], { lease }: Claim): CommunicationError {
  return new CommunicationError(
    `${host} is in use by run ${run ?? '?'} of ${user ?? '?'} since ${since ?? '?'}`,
    { host, run },
    {
      blame: 'operator',
      remedy: `Wait for it or stop it, or use another work_dir and other devices; a run that is gone lets go within ${toSeconds(lease)} s.`,
    },
  );
}
