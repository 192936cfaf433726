/* Two libstrophe clients talk to each other through a server.
 *
 * Usage: strophe_client HOST PORT CA DOMAIN USER1 USER2, password in PASSWORD.
 * Prints "ok STEP" for each step; exits with 1 and a reason when one fails.
 *
 * cc -o strophe_client strophe_client.c $(pkg-config --cflags --libs libstrophe)
 */

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <strophe.h>

#define MAX_SEEN 256
#define TIMEOUT 20

typedef struct {
    const char *name; /* bare JID */
    xmpp_conn_t *conn;
    int fd;
    int connected, disconnected;
    char *seen[MAX_SEEN]; /* stanzas as text, NULL when taken */
    int count;
} peer_t;

static xmpp_ctx_t *ctx;
static const char *host, *ca, *password;
static unsigned short port;

static void fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static void ok(const char *step)
{
    printf("ok %s\n", step);
    fflush(stdout);
}

static int on_stanza(xmpp_conn_t *conn, xmpp_stanza_t *stanza, void *userdata)
{
    peer_t *p = userdata;
    char *text;
    size_t len;
    xmpp_stanza_t *query = xmpp_stanza_get_child_by_name(stanza, "query");
    const char *ns = query ? xmpp_stanza_get_ns(query) : NULL;
    const char *type = xmpp_stanza_get_type(stanza);

    /* A roster push is a request and wants its result (RFC 6120 8.2.3). */
    if (ns && strcmp(ns, "jabber:iq:roster") == 0 && type && strcmp(type, "set") == 0) {
        xmpp_stanza_t *reply = xmpp_iq_new(ctx, "result", xmpp_stanza_get_id(stanza));
        xmpp_send(conn, reply);
        xmpp_stanza_release(reply);
    }
    if (xmpp_stanza_to_text(stanza, &text, &len) != XMPP_EOK)
        fail("%s: out of memory", p->name);
    if (p->count == MAX_SEEN)
        fail("%s: too many stanzas", p->name);
    p->seen[p->count++] = text;
    return 1;
}

static void on_conn(xmpp_conn_t *conn, xmpp_conn_event_t event, int error, xmpp_stream_error_t *stream_error, void *userdata)
{
    peer_t *p = userdata;
    (void)error;
    if (event == XMPP_CONN_CONNECT) {
        p->connected++;
        /* Here, because after a resumption stanzas come at once. */
        xmpp_handler_add(conn, on_stanza, NULL, NULL, NULL, p);
    } else {
        p->disconnected++;
    }
    if (stream_error)
        fprintf(stderr, "%s: stream error %d %s\n", p->name, stream_error->type, stream_error->text ? stream_error->text : "");
}

/* The descriptor is kept so that the connection can be cut. */
static peer_t *dialling;

static int on_socket(xmpp_conn_t *conn, void *sock)
{
    (void)conn;
    dialling->fd = *(int *)sock;
    return 0;
}

static int late(time_t since) { return time(NULL) - since > TIMEOUT; }

static void login(peer_t *p, xmpp_sm_state_t *sm)
{
    char jid[256];
    time_t start = time(NULL);

    snprintf(jid, sizeof jid, "%s/strophe", p->name);
    p->conn = xmpp_conn_new(ctx);
    xmpp_conn_set_flags(p->conn, XMPP_CONN_FLAG_MANDATORY_TLS);
    xmpp_conn_set_cafile(p->conn, ca);
    xmpp_conn_set_jid(p->conn, jid);
    xmpp_conn_set_pass(p->conn, password);
    xmpp_conn_set_sockopt_callback(p->conn, on_socket);
    if (sm && xmpp_conn_set_sm_state(p->conn, sm) != 0)
        fail("%s: the state of the stream management is not taken", p->name);
    p->connected = p->disconnected = 0;
    dialling = p;
    if (xmpp_connect_client(p->conn, host, port, on_conn, p) != XMPP_EOK)
        fail("%s: connect", p->name);
    while (!p->connected) {
        if (p->disconnected || late(start))
            fail("%s: login failed", p->name);
        xmpp_run_once(ctx, 10);
    }
    if (!xmpp_conn_is_secured(p->conn))
        fail("%s: not secured", p->name);
}

static void send_text(peer_t *p, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    xmpp_stanza_t *stanza;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    /* As a stanza and not as raw text, so that stream management counts it. */
    stanza = xmpp_stanza_new_from_string(ctx, text);
    if (!stanza)
        fail("%s: not a stanza: %s", p->name, text);
    xmpp_send(p->conn, stanza);
    xmpp_stanza_release(stanza);
}

/* Takes the first stanza that has all the texts, the last of which is NULL. */
static void want(peer_t *p, ...)
{
    time_t start = time(NULL);
    for (;;) {
        int i;
        for (i = 0; i < p->count; i++) {
            va_list ap;
            const char *part;
            int fits = p->seen[i] != NULL;
            va_start(ap, p);
            while (fits && (part = va_arg(ap, const char *)))
                fits = strstr(p->seen[i], part) != NULL;
            va_end(ap);
            if (fits) {
                xmpp_free(ctx, p->seen[i]);
                p->seen[i] = NULL;
                return;
            }
        }
        if (late(start)) {
            va_list ap;
            va_start(ap, p);
            fail("%s: nothing came with %s", p->name, va_arg(ap, const char *));
        }
        xmpp_run_once(ctx, 10);
    }
}

int main(int argc, char **argv)
{
    char one_jid[256], two_jid[256];
    peer_t one = {0}, two = {0};
    xmpp_sm_state_t *sm;
    time_t start;

    if (argc != 7 || !(password = getenv("PASSWORD")))
        fail("usage: PASSWORD=... %s HOST PORT CA DOMAIN USER1 USER2", argv[0]);
    host = argv[1];
    port = (unsigned short)atoi(argv[2]);
    ca = argv[3];
    snprintf(one_jid, sizeof one_jid, "%s@%s", argv[5], argv[4]);
    snprintf(two_jid, sizeof two_jid, "%s@%s", argv[6], argv[4]);
    one.name = one_jid;
    two.name = two_jid;
    signal(SIGPIPE, SIG_IGN); /* the connection is cut on purpose */
    xmpp_initialize();
    ctx = xmpp_ctx_new(NULL, xmpp_get_default_logger(XMPP_LEVEL_ERROR));

    login(&one, NULL);
    login(&two, NULL);
    ok("login");

    send_text(&one, "<iq type='get' id='r1'><query xmlns='jabber:iq:roster'/></iq>");
    want(&one, "\"r1\"", "\"result\"", NULL);
    send_text(&two, "<iq type='get' id='r2'><query xmlns='jabber:iq:roster'/></iq>");
    want(&two, "\"r2\"", "\"result\"", NULL);
    send_text(&one, "<presence/>");
    send_text(&two, "<presence/>");
    send_text(&one, "<iq type='get' id='p1' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>", argv[4]);
    want(&one, "\"p1\"", "\"result\"", NULL);
    ok("ping");

    send_text(&one, "<iq type='set' id='r3'><query xmlns='jabber:iq:roster'><item jid='%s' name='Second'><group>Friends</group></item></query></iq>", two_jid);
    want(&one, "\"set\"", "\"Second\"", "Friends", NULL);
    want(&one, "\"r3\"", "\"result\"", NULL);
    ok("roster");

    send_text(&one, "<presence type='subscribe' to='%s'/>", two_jid);
    want(&two, "\"subscribe\"", NULL);
    send_text(&two, "<presence type='subscribed' to='%s'/>", one_jid);
    send_text(&two, "<presence type='subscribe' to='%s'/>", one_jid);
    want(&one, "<presence", "\"subscribe\"", NULL);
    send_text(&one, "<presence type='subscribed' to='%s'/>", two_jid);
    want(&one, "subscription=\"both\"", NULL);
    want(&two, "subscription=\"both\"", NULL);
    want(&one, "<presence", two_jid, "/strophe\"", NULL);
    ok("subscription");

    send_text(&one, "<message type='chat' to='%s/strophe'><body>to you</body></message>", two_jid);
    want(&two, "<body>to you</body>", NULL);
    send_text(&two, "<message type='chat' to='%s'><body>and back</body></message>", one_jid);
    want(&one, "<body>and back</body>", NULL);
    ok("chat");

    /* Cut without a goodbye, and resumed by another connection. */
    shutdown(one.fd, SHUT_RDWR);
    start = time(NULL);
    while (!one.disconnected) {
        if (late(start))
            fail("the cut went unnoticed");
        xmpp_run_once(ctx, 10);
    }
    send_text(&two, "<message type='chat' to='%s/strophe'><body>while away</body></message>", one_jid);
    sm = xmpp_conn_get_sm_state(one.conn);
    if (!sm)
        fail("no stream management to resume");
    xmpp_conn_release(one.conn);
    login(&one, sm);
    want(&one, "<body>while away</body>", NULL);
    send_text(&one, "<iq type='get' id='p2' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>", argv[4]);
    want(&one, "\"p2\"", "\"result\"", NULL);
    ok("resume");

    send_text(&one, "<iq type='set' id='r4'><query xmlns='jabber:iq:roster'><item jid='%s' subscription='remove'/></query></iq>", two_jid);
    want(&one, "\"r4\"", "\"result\"", NULL);
    want(&two, "subscription=\"none\"", NULL);
    ok("remove");

    one.disconnected = two.disconnected = 0;
    xmpp_disconnect(one.conn);
    xmpp_disconnect(two.conn);
    start = time(NULL);
    while (!one.disconnected || !two.disconnected) {
        if (late(start))
            fail("the streams were not closed");
        xmpp_run_once(ctx, 10);
    }
    xmpp_conn_release(one.conn);
    xmpp_conn_release(two.conn);
    xmpp_ctx_free(ctx);
    xmpp_shutdown();
    return 0;
}
