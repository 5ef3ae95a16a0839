// Bundles each src/NAME.ts (and src/NAME.css) into ../ftlab/widgets/static/NAME.js (and .css).
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, 'src');
const entries = readdirSync(source).filter((name) => /\.(ts|css)$/.test(name) && !name.endsWith('.d.ts'));

await build({
  entryPoints: entries.map((name) => join(source, name)),
  outdir: process.argv[2] ?? join(here, '..', 'ftlab', 'widgets', 'static'),
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  charset: 'utf8',
  legalComments: 'none',
  logLevel: 'warning',
  entryNames: '[name]',
});
