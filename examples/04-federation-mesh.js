// n × m domains of two hosting providers: what does each way of sharing connections cost? Both providers run in this
// process; there is nothing to set up.
//
//   k6 run -e N=10 -e M=10 examples/04-federation-mesh.js
//
// Against a server of your own that TARGET, a target file, describes, of which M domains take part:
//
//   k6 run -e N=3 -e M=3 -e TARGET=$PWD/server.yaml -e VARIANTS=pair-external examples/04-federation-mesh.js
import { Mesh, domains } from "k6/x/xmpp";
import { check } from "k6";

const VARIANTS = /** @type {import("k6/x/xmpp").S2SVariant[]} */ ((__ENV.VARIANTS || "pair-external,shared-cert,shared-attrcert").split(","));
const N = Number(__ENV.N || 10), M = Number(__ENV.M || 10), SLOT = Number(__ENV.SLOT || 30);
const sides = __ENV.TARGET
  ? { target: open(__ENV.TARGET), local: N, remote: M }
  : { local: domains("d{i}.alpha.test", N), remote: domains("d{i}.beta.test", M) };

/** @type {import("k6/options").Options} */
export const options = {
  scenarios: Object.fromEntries(VARIANTS.map((variant, i) => [variant.replace("-", "_"), {
    executor: "per-vu-iterations",
    vus: 1,
    iterations: 3,
    startTime: `${i * SLOT}s`,
    maxDuration: `${SLOT}s`,
    env: { VARIANT: variant },
  }])),
  thresholds: {
    checks: ["rate==1"],
    ...Object.fromEntries(VARIANTS.flatMap((variant) => [
      [`xmpp_s2s_setup_duration{s2s_strategy:${variant}}`, []],
      [`xmpp_s2s_connections{s2s_strategy:${variant}}`, []],
      [`xmpp_s2s_rtt{s2s_strategy:${variant}}`, ["p(99)<500"]],
    ])),
  },
  summaryTrendStats: ["min", "med", "p(90)", "p(99)", "max", "count"],
};

export default async function () {
  const variant = /** @type {import("k6/x/xmpp").S2SVariant} */ (__ENV.VARIANT);
  const mesh = new Mesh({ variant, ...sides });
  const stats = await mesh.open();
  console.log(`${variant}: ${stats.connections} connections for ${stats.pairs} pairs in ${stats.duration} ms`);
  const burst = await mesh.burst({ count: 500, concurrency: 16, size: 512 });
  check(burst, { "every message came back": (b) => b.sent === 500 && b.failed === 0 });
  if (!__ENV.TARGET) { // what a server counts is not known, and its domains are as they are
    check(stats, { "counts are those of the closed form": (s) => s.agrees === true });
    const { duration } = await mesh.addDomain("late.alpha.test");
    console.log(`${variant}: one more domain took ${duration} ms`);
  }
  await mesh.close();
}
