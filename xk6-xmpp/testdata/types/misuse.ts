// What the declarations must refuse: each line after the comment is an error, or the check fails.
import { Client, Mesh, UserPool, XMPPError, connect } from "k6/x/xmpp";
import type { RosterMode, S2SVariant } from "k6/x/xmpp";

const users = new UserPool({ jid: "u{i}@a.test", count: 1 });
const client = new Client({ ...users.at(0) });

// @ts-expect-error an option that does not exist
new Client({ jid: "a@b", pasword: "x" });
// @ts-expect-error a variant that does not exist
client.roster.get({ mode: "fast" });
// @ts-expect-error a setting of another variant
client.roster.get({ mode: "monolithic", chunk: 5 });
// @ts-expect-error a layout is not a variant
new Mesh({ variant: "each-pair", local: 1, remote: 1 });
// @ts-expect-error an event that does not exist
client.on("msg", () => {});
// @ts-expect-error it is a promise
connect({ jid: "a@b" }).ping();
// @ts-expect-error scripts do not make errors
new XMPPError();

// What they must accept: names that are known at run time only.
export async function all(modes: RosterMode[], variants: S2SVariant[]): Promise<number> {
  let sum = 0;
  for (const mode of modes) sum += (await client.roster.get({ mode, probe: { interval: "50ms" } })).count;
  for (const variant of variants) sum += (await new Mesh({ variant, local: 1, remote: 1 }).open()).pairs;
  return sum;
}
