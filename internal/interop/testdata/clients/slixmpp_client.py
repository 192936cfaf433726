"""Two slixmpp clients talk to each other through a server.

Usage: slixmpp_client.py HOST PORT CA DOMAIN USER1 USER2, password in PASSWORD.
Prints "ok STEP" for each step; exits with 1 and a reason when one fails.
"""

import asyncio
import os
import sys

import slixmpp

HOST, PORT, CA, DOMAIN, USER1, USER2 = sys.argv[1:7]
PASSWORD = os.environ["PASSWORD"]
TIMEOUT = 20


def ok(step):
    print("ok", step, flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, user):
        super().__init__(f"{user}@{DOMAIN}/slix", PASSWORD)
        self.ca_certs = CA
        self.auto_authorize = None
        self.auto_subscribe = False
        self.end_session_on_disconnect = False
        for plugin in ("xep_0030", "xep_0198", "xep_0199", "xep_0092"):
            self.register_plugin(plugin)
        self.inbox = asyncio.Queue()
        self.add_event_handler("message", self.inbox.put_nowait)
        self.failures = []
        self.add_event_handler("failed_auth", lambda e: self.failures.append("auth"))

    async def until(self, event):
        return await self.wait_until(event, timeout=TIMEOUT)

    async def login(self):
        started = asyncio.ensure_future(self.until("session_start"))
        self.connect(address=(HOST, int(PORT)))
        await started


async def check(condition, what):
    for _ in range(TIMEOUT * 20):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(what)


async def run():
    one, two = Client(USER1), Client(USER2)
    enabled = asyncio.ensure_future(one.until("sm_enabled"))
    await one.login()
    await two.login()
    ok("login")

    await one.get_roster()
    await two.get_roster()
    one.send_presence()
    two.send_presence()
    await one["xep_0199"].send_ping(DOMAIN, timeout=TIMEOUT)
    info = await one["xep_0030"].get_info(jid=DOMAIN, timeout=TIMEOUT)
    if ("server", "im") not in {i[:2] for i in info["disco_info"]["identities"]}:
        raise RuntimeError("no server identity in disco#info")
    await one["xep_0092"].get_version(DOMAIN, timeout=TIMEOUT)
    ok("ping")

    # Roster edit: the push brings it to the client's own list.
    peer = two.boundjid.bare
    await one.update_roster(peer, name="Second", groups=["Friends"], timeout=TIMEOUT)
    await check(lambda: one.client_roster[peer]["name"] == "Second" and one.client_roster[peer]["groups"] == ["Friends"], "no roster push")
    ok("roster")

    asked = asyncio.ensure_future(two.until("presence_subscribe"))
    one.send_presence_subscription(pto=peer, ptype="subscribe")
    await asked
    two.send_presence_subscription(pto=one.boundjid.bare, ptype="subscribed")
    asked = asyncio.ensure_future(one.until("presence_subscribe"))
    two.send_presence_subscription(pto=one.boundjid.bare, ptype="subscribe")
    await asked
    one.send_presence_subscription(pto=peer, ptype="subscribed")
    await check(lambda: one.client_roster[peer]["subscription"] == "both", "not subscribed")
    await check(lambda: two.client_roster[one.boundjid.bare]["subscription"] == "both", "not subscribed back")
    await check(lambda: "slix" in one.client_roster[peer].resources, "no presence of the contact")
    ok("subscription")

    one.send_message(mto=two.boundjid, mbody="to you", mtype="chat")
    two.send_message(mto=one.boundjid.bare, mbody="and back", mtype="chat")
    if (await asyncio.wait_for(two.inbox.get(), TIMEOUT))["body"] != "to you":
        raise RuntimeError("wrong message")
    if (await asyncio.wait_for(one.inbox.get(), TIMEOUT))["body"] != "and back":
        raise RuntimeError("wrong message back")
    ok("chat")

    # Cut without a goodbye; what was sent meanwhile comes after the resumption.
    await enabled
    lost = asyncio.ensure_future(one.until("disconnected"))
    one.transport.abort()
    await lost
    two.send_message(mto=one.boundjid, mbody="while away", mtype="chat")
    resumed = asyncio.ensure_future(one.until("session_resumed"))
    one.connect(address=(HOST, int(PORT)))
    await resumed
    if (await asyncio.wait_for(one.inbox.get(), TIMEOUT))["body"] != "while away":
        raise RuntimeError("wrong message after the resumption")
    await one["xep_0199"].send_ping(DOMAIN, timeout=TIMEOUT)
    ok("resume")

    one.del_roster_item(peer)
    await check(lambda: two.client_roster[one.boundjid.bare]["subscription"] == "none", "the subscription outlived the item")
    ok("remove")
    for client in (one, two):
        await client.disconnect(wait=2)


try:
    asyncio.get_event_loop().run_until_complete(asyncio.wait_for(run(), 120))
except Exception as e:  # every failure ends the test with its reason
    print(f"{type(e).__name__}: {e}", file=sys.stderr)
    sys.exit(1)
