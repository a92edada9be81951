// Fails when the SDK outgrows its limits: what a page pays for it, minified and gzipped, React not counted.
import { gzipSync } from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const PACKAGE = fileURLToPath(new URL('../packages/bff-auth-react/dist/', import.meta.url));
const LIMITS = [
  { name: 'core, everything used', entry: 'core/index.js', limit: 5000 },
  { name: 'with the React bindings, everything used', entry: 'index.js', limit: 8000 },
];

let isTooLarge = false;
for (const { name, entry, limit } of LIMITS) {
  const { outputFiles } = await build({
    stdin: { contents: `export * from './${entry}';`, resolveDir: PACKAGE },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['react', 'react/jsx-runtime'],
    write: false,
  });
  const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  isTooLarge ||= bytes >= limit;
  console.log(`${bytes < limit ? 'ok       ' : 'TOO LARGE'} ${String(bytes).padStart(5)} of ${limit} bytes: ${name}`);
}
process.exitCode = isTooLarge ? 1 : 0;
