// Build the page into src/dashboard/static; with --tests, bundle the unit tests into .build for `node --test`.
// The output depends on the sources alone: the release of a host is named by the hash of what is in it.
import { build } from "esbuild";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const shared = { bundle: true, jsx: "automatic", jsxImportSource: "preact", legalComments: "none", logLevel: "warning" };

async function buildPage() {
  const target = join(here, "../src/dashboard/static");
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true });
  await build({
    ...shared,
    entryPoints: { app: join(here, "src/main.tsx"), page: join(here, "src/page.css") },
    outdir: target,
    format: "esm",
    target: ["es2022", "chrome109", "firefox115", "safari16"],
    minify: true,
  });
  for (const name of ["index.html", "icon.svg"]) await cp(join(here, "src", name), join(target, name));
  // Compressed here once: the server sends the file, so that the page costs no time of the host.
  for (const name of (await readdir(target)).sort()) {
    const compressed = gzipSync(await readFile(join(target, name)), { level: 9 });
    await writeFile(join(target, `${name}.gz`), compressed);
  }
}

async function buildTests() {
  const target = join(here, ".build");
  await rm(target, { recursive: true, force: true });
  const tests = (await readdir(join(here, "test"))).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...shared,
    entryPoints: tests.map((name) => join(here, "test", name)),
    outdir: target,
    outExtension: { ".js": ".mjs" },
    platform: "node",
    format: "esm",
    target: "node18",
  });
}

await (process.argv.includes("--tests") ? buildTests() : buildPage());
