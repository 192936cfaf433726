// Needs no server and no network: what a script can do before it connects.
//
//   k6 run examples/smoke.js
import { Client, Component, Mesh, RateLimit, Swarm, UserPool, XMPPError, connect, domains, rosterFor, share } from "k6/x/xmpp";
import { check } from "k6";

export const options = { vus: 1, iterations: 1, thresholds: { checks: ["rate==1"] } };

// All of these may be made in the init context.
const users = new UserPool({ jid: "u{i}@bench.test", password: "pw{i}", count: 100, pad: 5 });
const client = new Client({ ...users.at(0), host: "127.0.0.1", tags: { role: "first" } });
const swarm = new Swarm({ users, size: 10, host: "127.0.0.1", roster: { mode: "chunked-push", chunk: 50 } });
const mesh = new Mesh({ variant: "shared-mux", local: domains("d{i}.alpha.test", 3), remote: 4 });
const component = new Component({ domain: "bots.bench.test", secret: "s", host: "127.0.0.1" });

/** @param {() => unknown} f */
function thrown(f) {
  try {
    f();
  } catch (e) {
    return e;
  }
  return null;
}

export default async function () {
  const roster = rosterFor(users, 7, 20);
  check(null, {
    "accounts follow from a formula": () => users.byIteration().jid === "u00000@bench.test" && users.byVU(4).password === "pw00004",
    "a roster has its size": () => roster.length === 20 && roster.every((item) => item.jid.endsWith("@bench.test")),
    "nothing is connected": () => !client.connected && swarm.connected === 0 && !component.connected && mesh.stats === null,
    "domains have names": () => mesh.local[2] === "d2.alpha.test" && mesh.remote.length === 4,
    "without segments an instance takes all": () => share(10) === 10,
    "options are checked": () => thrown(() => new Client(/** @type {any} */ ({ jid: "a@b.test", pasword: "x" }))) instanceof TypeError,
    "a call needs a session": () => thrown(() => client.ping()) instanceof XMPPError,
    "a rate lets the first pass": () => new RateLimit({ rate: 10 }) instanceof RateLimit && typeof connect === "function",
  });
}
