// What is refused, and a threshold that no server meets.
import { Component, XMPPError, connect } from "k6/x/xmpp";
import { check } from "k6";

export const options = { thresholds: { xmpp_ping_rtt: ["max<0"], checks: ["rate==1"] } };

const domain = __ENV.DOMAIN;
const user = {
  jid: `u0000006@${domain}`, password: __ENV.XMPPBENCH_PASSWORD,
  host: __ENV.XMPP_HOST, port: Number(__ENV.XMPP_PORT), tls: { mode: __ENV.XMPP_TLS },
};

async function refused(what, promise) {
  const e = await promise.then(() => null, (e) => e);
  check(e, { [what]: (e) => e instanceof XMPPError && `${e.stage}:${e.condition}` === "sasl:not-authorized" });
}

export default async function () {
  await refused("a wrong password", connect({ ...user, password: "guess" }));
  const bots = { domain: `bots.${domain}`, secret: "guess", host: user.host, port: Number(__ENV.COMPONENT_PORT) };
  await refused("a wrong secret", new Component(bots).connect());
  const c = await connect(user);
  await c.ping();
  await c.disconnect();
}
