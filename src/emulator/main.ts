import { setTimeout as delay } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { cannotServe, planMemory } from '../core/serving/hardware.ts';
import { settingsOf } from '../core/serving/params.ts';
import { presetNames, presets, type PresetName } from '../core/serving/presets.ts';
import type { ServingParams } from '../core/space/field.ts';
import { EmulatorServer } from './server.ts';

/** `vllm serve` without accelerators: the same log lines, endpoints and exit codes, the speed of a model. */

interface Options {
  readonly preset: PresetName;
  readonly host: string;
  readonly port: string;
  readonly headless?: boolean;
  readonly trace?: boolean;
  readonly set: readonly string[];
}

const say = (level: 'INFO' | 'ERROR', text: string): boolean => process.stdout.write(`${level} ${text}\n`);

async function untilTerminated(): Promise<void> {
  return new Promise((resolve) => {
    const idle = setInterval(() => undefined, 60_000);
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      // Told again, it goes on with what it was told.
      process.on(signal, () => {
        clearInterval(idle);
        resolve();
      });
    }
  });
}

function paramsOf(pairs: readonly string[]): ServingParams {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name = '', value = ''] = pair.split('=', 2);
      return [name, value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : value];
    }),
  );
}

async function serve(options: Options): Promise<number> {
  const preset = presets[options.preset];
  const settings = settingsOf(preset, paramsOf(options.set));
  const { model } = preset.deployment;
  const end = untilTerminated();
  say('INFO', `emulated engine, model ${model.name}, non-default args: ${JSON.stringify(settings)}`);
  if (options.headless === true) {
    say('INFO', 'headless: this node serves the head');
    await end;
    return 0;
  }
  await Promise.race([end, delay(preset.startUpMs * 0.4)]);
  const memory = planMemory(preset.deployment, settings);
  if (cannotServe(memory)) {
    const kind = memory.kind === 'weights' ? 'torch.OutOfMemoryError' : 'ValueError';
    say('ERROR', 'EngineCore failed to start.');
    say('ERROR', `${kind}: ${memory.message}`);
    say('ERROR', 'RuntimeError: Engine core initialization failed. See root cause above.');
    return 1;
  }
  const tokens = memory.blocks * settings.block_size;
  say('INFO', `Loading weights took ${((preset.startUpMs * 0.4) / 1000).toFixed(2)} seconds`);
  say('INFO', `GPU KV cache size: ${tokens.toLocaleString('en-US')} tokens`);
  const concurrency = (tokens / settings.max_model_len).toFixed(2);
  say(
    'INFO',
    `Maximum concurrency for ${settings.max_model_len.toLocaleString('en-US')} tokens per request: ${concurrency}x`,
  );
  await Promise.race([end, delay(preset.startUpMs * 0.6)]);
  const server = new EmulatorServer({
    deployment: preset.deployment,
    settings,
    model: model.name,
    trace: options.trace === true,
  });
  try {
    await server.listen(Number(options.port), options.host);
  } catch (error) {
    say(
      'ERROR',
      `OSError: [Errno 98] error while attempting to bind: address already in use (${String(error)})`,
    );
    return 1;
  }
  say('INFO', `Started server on http://${options.host}:${server.port}`);
  say('INFO', 'Application startup complete.');
  await end;
  say('INFO', 'Shutting down');
  await server.close();
  return 0;
}

await new Command('optimizer-emulator')
  .description('A serving engine that behaves like `vllm serve`, without accelerators.')
  .addOption(new Option('--preset <name>', 'model and machines').choices(presetNames).default('demo'))
  .option('--host <address>', 'where to listen', '127.0.0.1')
  .option('--port <n>', 'where to listen; 0: any free port', '8000')
  .option('--set <name=value>', 'an engine parameter', (pair, all: string[]) => [...all, pair], [])
  .option('--headless', 'a node beside the head: no server')
  .option('--trace', 'keep when requests came and tokens were written, for /emulator/trace')
  .action(async (options: Options) => {
    process.exitCode = await serve(options);
    process.exit();
  })
  .parseAsync();
