// Two clients of @xmpp/client talk to each other through a server.
//
// Usage: node xmppjs_client.mjs HOST PORT CA DOMAIN USER1 USER2, password in
// PASSWORD; the certificate authority is given by NODE_EXTRA_CA_CERTS.
// Prints "ok STEP" for each step; exits with 1 and a reason when one fails.

import { client, xml } from "@xmpp/client";

const [host, port, , domain, user1, user2] = process.argv.slice(2);
const password = process.env.PASSWORD;
const timeout = 20_000;

const ok = (step) => console.log("ok", step);

function deadline(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${timeout} ms`)), timeout);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// A Peer is a client that keeps what it received until somebody asks for it.
class Peer {
  constructor(user) {
    this.user = user;
    this.bare = `${user}@${domain}`;
    this.seen = [];
    this.waiting = [];
    this.xmpp = client({ service: `xmpp://${host}:${port}`, domain, username: user, password, resource: "xmppjs" });
    this.xmpp.on("error", (err) => { this.error = err; });
    this.xmpp.on("stanza", (stanza) => {
      this.seen.push(stanza);
      // A roster push is a request and wants its result (RFC 6120 §8.2.3).
      if (stanza.is("iq") && stanza.attrs.type === "set" && stanza.getChild("query", "jabber:iq:roster")) {
        this.xmpp.send(xml("iq", { type: "result", id: stanza.attrs.id }));
      }
      this.waiting.forEach((look) => look());
    });
  }

  // until takes the first stanza that fits out of what was received.
  until(what, fits) {
    return deadline(new Promise((resolve) => {
      const look = () => {
        const i = this.seen.findIndex(fits);
        if (i < 0) return;
        this.waiting = this.waiting.filter((other) => other !== look);
        resolve(this.seen.splice(i, 1)[0]);
      };
      this.waiting.push(look);
      look();
    }), `${this.user}: ${what}`);
  }

  event(name) {
    return deadline(new Promise((resolve) => this.xmpp.once(name, resolve)), `${this.user}: ${name}`);
  }

  request(type, to, ...children) {
    return deadline(this.xmpp.iqCaller.request(xml("iq", { type, to }, ...children)), `${this.user}: ${type}`);
  }

  presence(type, to) {
    return this.xmpp.send(xml("presence", { type, to }));
  }

  push(jid, attrs) {
    return this.until(`push of ${jid} ${JSON.stringify(attrs)}`, (s) => {
      const item = s.getChild("query", "jabber:iq:roster")?.getChild("item");
      return s.is("iq") && s.attrs.type === "set" && item?.attrs.jid === jid &&
        Object.entries(attrs).every(([key, value]) => item.attrs[key] === value);
    });
  }

  message(body) {
    return this.until(`message ${body}`, (s) => s.is("message") && s.getChildText("body") === body);
  }
}

async function run() {
  const one = new Peer(user1);
  const two = new Peer(user2);
  for (const peer of [one, two]) {
    await deadline(peer.xmpp.start(), `${peer.user}: login`);
  }
  ok("login");

  for (const peer of [one, two]) {
    await peer.request("get", undefined, xml("query", "jabber:iq:roster"));
    await peer.presence();
    await peer.request("get", domain, xml("ping", "urn:xmpp:ping"));
  }
  ok("ping");

  await one.request("set", undefined, xml("query", "jabber:iq:roster",
    xml("item", { jid: two.bare, name: "Second" }, xml("group", {}, "Friends"))));
  await one.push(two.bare, { name: "Second", subscription: "none" });
  ok("roster");

  const asks = (s) => s.is("presence") && s.attrs.type === "subscribe";
  await one.presence("subscribe", two.bare);
  await two.until("request", asks);
  await two.presence("subscribed", one.bare);
  await two.presence("subscribe", one.bare);
  await one.until("request", asks);
  await one.presence("subscribed", two.bare);
  await one.push(two.bare, { subscription: "both" });
  await two.push(one.bare, { subscription: "both" });
  await one.until("presence", (s) => s.is("presence") && !s.attrs.type && s.attrs.from === `${two.bare}/xmppjs`);
  ok("subscription");

  await one.xmpp.send(xml("message", { type: "chat", to: `${two.bare}/xmppjs` }, xml("body", {}, "to you")));
  await two.message("to you");
  await two.xmpp.send(xml("message", { type: "chat", to: one.bare }, xml("body", {}, "and back")));
  await one.message("and back");
  ok("chat");

  // Cut without a goodbye; the client reconnects by itself and resumes.
  if (!one.xmpp.streamManagement.enabled) throw new Error("stream management is not enabled");
  const lost = one.event("disconnect");
  const resumed = deadline(new Promise((resolve) => one.xmpp.streamManagement.once("resumed", resolve)), "resumption");
  (one.xmpp.socket.socket ?? one.xmpp.socket).destroy(); // the socket beneath TLS
  await lost;
  await two.xmpp.send(xml("message", { type: "chat", to: `${one.bare}/xmppjs` }, xml("body", {}, "while away")));
  await resumed;
  await one.message("while away");
  await one.request("get", domain, xml("ping", "urn:xmpp:ping"));
  ok("resume");

  await one.request("set", undefined, xml("query", "jabber:iq:roster",
    xml("item", { jid: two.bare, subscription: "remove" })));
  await two.push(one.bare, { subscription: "none" });
  ok("remove");
  await one.xmpp.stop();
  await two.xmpp.stop();
}

run().then(() => process.exit(0), (err) => {
  console.error(err);
  process.exit(1);
});
