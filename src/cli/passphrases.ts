import { read } from 'read';
import { ConfigurationError } from '../base/errors.ts';
import type { NodeConfig } from '../config/parallel-config.ts';
import type { Settings } from '../config/settings.ts';
import { unlockKeys } from '../remote/ssh-keys.ts';
import { sshSettings } from '../remote/ssh-settings.ts';

/** Asks, on a terminal, for passphrases of keys that are the only way to a node; before anything else is shown. */
export async function askForPassphrasesOf(nodes: readonly NodeConfig[]): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return;
  const settings = nodes.flatMap((node) => {
    try {
      return [sshSettings(node)];
    } catch {
      return []; // said when it is connected
    }
  });
  await unlockKeys(settings, async (prompt) => {
    try {
      return await read({ prompt, silent: true, input: process.stdin, output: process.stderr });
    } catch (cause) {
      const remedy = 'Add the key to an agent with `ssh-add`, and it is not asked for.';
      throw new ConfigurationError('No passphrase was given', {}, { cause, remedy });
    }
  });
}

/** The same for the nodes of a study, where they are reached by SSH. */
export async function askForPassphrases({ parallel, local, simulation }: Settings): Promise<void> {
  const groups = local || simulation !== undefined ? [] : parallel.service_groups;
  await askForPassphrasesOf(groups.flatMap(({ nodes }) => nodes));
}
