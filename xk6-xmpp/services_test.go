package xk6xmpp

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// odd are the nodes that are not answered as they should, by what follows the one item of
// each answer.
var odd = map[string]string{
	"unpaged": "<x xmlns='urn:x'/>",
	"cut":     "<set xmlns='" + wire.NSRSM + "'><first>0</first><last>0</last><count>9</count></set>",
	"circle":  "<set xmlns='" + wire.NSRSM + "'><first>0</first><last>0</last></set>",
}

// services is a room, a publish-subscribe service with 25 items in the node "big", and
// nothing else. What goes to silent@ is not answered.
func services(jid string, el *wire.Element) string {
	to := el.Attr("to")
	fault := func(condition string) string {
		return fmt.Sprintf("<%s type='error' from='%s' id='%s'><error type='cancel'><%s xmlns='%s'/></error></%[1]s>", el.Name, to, el.Attr("id"), condition, wire.NSStanzas)
	}
	switch {
	case strings.HasPrefix(to, "silent@"):
		return ""
	case strings.HasPrefix(to, "full@"):
		return fault("service-unavailable")
	case el.Name == "presence" && el.Attr("type") == "unavailable":
		return "<presence type='unavailable' from='" + to + "'><x xmlns='" + nsMUCUser + "'><status code='110'/></x></presence>"
	case el.Name == "presence":
		if el.Child(nsMUC, "x").Child(nsMUC, "password").Text() != "open" {
			return fault("not-authorized")
		}
		room, _, _ := strings.Cut(to, "/")
		others := "<presence from='" + room + "'><x xmlns='vcard-temp:x:update'/></presence>"
		for i := range 3 {
			others += fmt.Sprintf("<presence from='%s/other%d'><x xmlns='%s'/></presence>", room, i, nsMUCUser)
		}
		made := ""
		if strings.HasPrefix(to, "new@") {
			others, made = others[:strings.Index(others, "</presence>")+len("</presence>")], "<status code='201'/>"
		}
		return others + "<presence from='" + to + "2'><x xmlns='" + nsMUCUser + "'><status code='210'/>" + made + "<status code='110'/></x></presence>"
	case el.Name == "message":
		return fmt.Sprintf("<message type='groupchat' from='%s/nick2' id='%s'><body>%s</body></message>", to, el.Attr("id"), el.Child(wire.NSClient, "body").Text())
	}
	answer := func(payload string) string {
		return string(wire.AppendIQ(nil, "result", el.Attr("id"), to, jid, []byte(payload)))
	}
	if form := el.Child(nsMUCOwner, "query").Child(nsDataForms, "x"); form != nil && form.Attr("type") == "submit" {
		if v := form.Child("", "field"); v != nil && !strings.Contains(string(form.Append(nil, "")), "<field var='muc#roomconfig_persistentroom'><value>true</value></field>") {
			return fault("not-acceptable")
		}
		return answer("")
	}
	ps := el.Child("", "pubsub")
	switch first := ps.Child("", ""); {
	case first == nil:
		return fault("feature-not-implemented")
	case first.Name == "publish":
		id := first.Child(nsPubSub, "item").Attr("id")
		if id == "" {
			id = "made"
		}
		return answer("<pubsub xmlns='" + nsPubSub + "'><publish node='" + first.Attr("node") + "'><item id='" + id + "'/></publish></pubsub>")
	case first.Name == "items" && odd[first.Attr("node")] != "":
		return answer("<pubsub xmlns='" + nsPubSub + "'><items node='x'><item id='0'/></items>" + odd[first.Attr("node")] + "</pubsub>")
	case first.Name == "items" && first.Attr("node") != "big":
		return fault("item-not-found")
	case first.Name == "items":
		if wanted := first.Child(nsPubSub, "item").Attr("id"); wanted != "" {
			return answer("<pubsub xmlns='" + nsPubSub + "'><items node='big'><item id='" + wanted + "'/></items></pubsub>")
		}
		from, most := 0, 25
		if n, err := strconv.Atoi(first.Attr("max_items")); err == nil {
			from = 25 - n
		}
		set := ps.Child(wire.NSRSM, "set")
		if set != nil {
			most, _ = strconv.Atoi(set.Child(wire.NSRSM, "max").Text())
			if after := set.Child(wire.NSRSM, "after").Text(); after != "" {
				n, _ := strconv.Atoi(after)
				from = n + 1
			}
		}
		to := min(25, from+most)
		b := "<pubsub xmlns='" + nsPubSub + "'><items node='big'>"
		for i := from; i < to; i++ {
			b += fmt.Sprintf("<item id='%d'><entry xmlns='urn:e'>%[1]d</entry></item>", i)
		}
		b += "</items>"
		if set != nil {
			b += fmt.Sprintf("<set xmlns='%s'><first>%d</first><last>%d</last><count>25</count></set>", wire.NSRSM, from, to-1)
		}
		return answer(b + "</pubsub>")
	case first.Name == "create" && first.Attr("node") == "taken":
		return fault("conflict")
	case first.Name == "create" && ps.Child(nsPubSub, "configure") != nil && !strings.Contains(string(ps.Append(nil, "")), "<field var='pubsub#max_items'><value>10</value></field>"):
		return fault("not-acceptable")
	}
	return answer("")
}

// TestRooms joins, talks and leaves.
func TestRooms(t *testing.T) {
	u := newUser(t, New(), newFake(t, services).Addr().String(), nil)
	u.must(`
		const c = await connect(` + plainLogin + `);
		await rejects(c.muc.join("room@muc.test", "nick"), "muc:not-authorized");
		const room = await c.muc.join("room@muc.test", "nick", { password: "open", history: 0 });
		equal([room.jid, room.nick, room.occupants], ["room@muc.test", "nick2", 4], "room");
		ok(await room.send("hello", { id: "m1", lang: "en", payload: "<x xmlns='urn:x'/>" }) > 0, "reflection");
		equal(await room.publish("urn:n", { name: "entry", ns: "urn:e", children: ["text"] }, { id: "mine" }), "mine", "published");
		await room.leave();
		const made = await c.muc.join("new@muc.test", "nick", { password: "open", config: { "muc#roomconfig_persistentroom": true } });
		equal([room.created, made.created, made.occupants], [false, true, 1], "made");
		await c.muc.join("new@muc.test", "nick", { password: "open" });
		await rejects(c.muc.join("new@muc.test", "nick", { password: "open", config: { "muc#nonsense": 1 } }), "muc:not-acceptable");
		await c.disconnect();
	`)
	for metric, want := range map[string]int{metricJoin: 3, metricMessage: 1} {
		if got := len(u.values(metric)); got != want {
			t.Errorf("%d samples of %s", got, metric)
		}
	}
}

// TestPubSub publishes and retrieves.
func TestPubSub(t *testing.T) {
	u := newUser(t, New(), newFake(t, services).Addr().String(), nil)
	u.must(`
		const c = await connect(` + plainLogin + `);
		const ps = c.pubsub;
		await ps.create("ps.test", "node");
		await ps.create("ps.test", "node", { "pubsub#max_items": 10 });
		await rejects(ps.create("ps.test", "taken"), "pubsub:conflict");
		await ps.subscribe("ps.test", "node");
		await ps.unsubscribe("ps.test", "node");
		equal(await ps.publish("ps.test", "node", "<entry xmlns='urn:e'/>"), "made", "published");
		equal(await ps.publish(null, "node", "<entry xmlns='urn:e'/>", { id: "x" }), "x", "published");
		const all = await ps.items("ps.test", "big");
		equal([all.mode, all.count, all.stanzas, all.items], ["monolithic", 25, 1, null], "all");
		equal([all.verdict, all.reason], ["spoken", ""], "all");
		ok(all.firstItem <= all.duration && all.bytes > 500, JSON.stringify(all));
		const pages = await ps.items("ps.test", "big", { mode: "rsm", max: 10, items: true });
		equal([pages.count, pages.stanzas, pages.items.length, pages.items[24].id, pages.items[24].payload.children], [25, 3, 25, "24", ["24"]], "pages");
		const some = await ps.items("ps.test", "big", { mode: "rsm", max: 10, limit: 15, items: true });
		equal([some.count, some.stanzas, some.items.length, some.limited], [20, 2, 15, true], "limited");
		const enough = await ps.items("ps.test", "big", { limit: 5, items: true });
		equal([enough.count, enough.items.length, enough.limited], [25, 5, false], "all, of which few are wanted");
		const latest = await ps.items("ps.test", "big", { mode: "latest", max: 2, items: true });
		equal([latest.verdict, latest.items.map((i) => i.id)], ["spoken", ["23", "24"]], "latest");
		const one = await ps.items("ps.test", "big", { mode: "ids", ids: ["7"], items: true });
		equal([one.verdict, one.items], ["spoken", [{ id: "7", payload: null }]], "one");
		const whole = await ps.items("ps.test", "unpaged", { mode: "rsm" });
		equal([whole.verdict, whole.count, whole.stanzas], ["ignored", 1, 1], "without pages");
		const part = await ps.items("ps.test", "cut");
		equal([part.verdict, part.reason, part.count], ["ignored", "1 of 9 items came", 1], "a part");
		await rejects(ps.items("ps.test", "circle", { mode: "rsm" }), "pubsub:undefined-condition");
		await rejects(ps.items("ps.test", "none"), "pubsub:item-not-found");
		await ps.delete("ps.test", "node");
		await c.disconnect();
	`)
	for mode, want := range map[string]int{itemsMonolithic: 3, itemsLatest: 1, itemsByID: 1, itemsRSM: 3} {
		if got := len(u.values(metricItems, "items_mode", mode)); got != want {
			t.Errorf("%d samples of %s", got, mode)
		}
	}
}
