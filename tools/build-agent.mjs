import { build } from 'esbuild';

/** The load generator as one file that any machine with Node can run, its dependencies in it. */
await build({
  entryPoints: ['src/benchmarks/builtin/agent.ts'],
  outfile: 'dist/benchmarks/builtin/agent.mjs',
  bundle: true,
  minify: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  legalComments: 'eof',
  // Dependencies that are no ES modules ask for Node's own by `require`.
  banner: { js: "import{createRequire}from'node:module';const require=createRequire(import.meta.url);" },
  logLevel: 'warning',
});
