package k6docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/golden"
)

//go:generate go test -run ^TestAPI$ . -update

// TestAPI holds the description of the API in docs/k6-api.md against index.d.ts; -update
// writes it anew.
func TestAPI(t *testing.T) {
	root := filepath.Join("..", "..")
	source, err := os.ReadFile(filepath.Join(root, "index.d.ts"))
	if err != nil {
		t.Fatal(err)
	}
	api, err := describe(string(source))
	if err != nil {
		t.Fatal(err)
	}
	golden.Part(t, filepath.Join(root, "docs", "k6-api.md"), "api", api)
}

// describe writes Markdown about every declaration of a file of type declarations: its
// comment, its declaration, and for classes and interfaces a table of members. It knows
// the language as far as our file uses it, and fails where it does not understand.
func describe(source string) (string, error) {
	var out strings.Builder
	for _, d := range declarations(source) {
		head := strings.Join(strings.Fields(d.text), " ")
		switch {
		case strings.HasPrefix(head, "export as namespace"):
			continue
		case !strings.HasPrefix(head, "export ") && !strings.HasPrefix(head, "interface "):
			return "", fmt.Errorf("line %d: neither an export nor a comment: %.60s", d.line, head)
		}
		m := regexp.MustCompile(`^(?:export )?(?:declare |abstract )*(class|interface|type|function|const) (\w+)`).FindStringSubmatch(head)
		if m == nil {
			return "", fmt.Errorf("line %d: an export of an unknown kind: %.60s", d.line, head)
		}
		kind, name := m[1], m[2]
		if kind == "function" {
			name += "()"
		}
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "## `%s`\n", name)
		if d.comment != "" {
			fmt.Fprintf(&out, "\n%s\n", d.comment)
		}
		if kind != "class" && kind != "interface" {
			fmt.Fprintf(&out, "\n```ts\n%s\n```\n", strings.TrimPrefix(d.text, "export "))
			continue
		}
		open := strings.IndexByte(d.text, '{')
		if open < 0 || !strings.HasSuffix(d.text, "}") {
			return "", fmt.Errorf("line %d: %s has no body", d.line, name)
		}
		if _, base, ok := strings.Cut(strings.TrimSpace(d.text[:open]), " extends "); ok {
			fmt.Fprintf(&out, "\nExtends `%s`.\n", strings.Join(strings.Fields(base), " "))
		}
		members := declarations(d.text[open+1 : len(d.text)-1])
		if len(members) == 0 {
			continue
		}
		out.WriteString("\n| member | |\n| --- | --- |\n")
		for _, member := range members {
			text := strings.TrimRight(strings.Join(strings.Fields(member.text), " "), ";,")
			if strings.HasPrefix(text, "private ") {
				continue
			}
			fmt.Fprintf(&out, "| `%s` | %s |\n", cellOf(text), cellOf(member.comment))
		}
	}
	return out.String(), nil
}

// cellOf makes one line of text that may stand in a table.
func cellOf(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

// A declaration is one of a file or of the members of a class, with the comment before.
type declaration struct {
	comment string
	text    string
	line    int
}

// declarations splits source. A declaration ends with a semicolon outside of all
// brackets, or with the bracket that closes a body.
func declarations(source string) []declaration {
	var (
		all     []declaration
		comment string
		text    strings.Builder
		depth   int
		line    = 1
		begin   int
	)
	flush := func() {
		if t := strings.TrimSpace(text.String()); t != "" {
			all = append(all, declaration{comment: comment, text: t, line: begin})
			comment = ""
		}
		text.Reset()
	}
	for i := 0; i < len(source); i++ {
		rest := source[i:]
		blank := strings.TrimSpace(text.String()) == ""
		switch {
		case blank && strings.HasPrefix(rest, "/**"):
			end := strings.Index(rest, "*/")
			if end < 0 {
				end = len(rest)
			}
			comment = commentOf(rest[3:max(end, 3)])
			line += strings.Count(rest[:end], "\n")
			i += end + 1
			// A blank line sets a comment apart: it is one of the file.
			if strings.HasPrefix(strings.TrimLeft(source[min(i+1, len(source)):], " "), "\n\n") || strings.Contains(comment, "@packageDocumentation") {
				comment = ""
			}
			continue
		case strings.HasPrefix(rest, "//"):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			i += end - 1
			continue
		case strings.HasPrefix(rest, "/*"):
			// It belongs to a member, or to nothing.
			end := max(strings.Index(rest, "*/"), 0)
			line += strings.Count(rest[:end], "\n")
			text.WriteString(rest[:end+2])
			i += end + 1
			continue
		}
		c := source[i]
		if c == '"' || c == '`' {
			end := strings.IndexByte(rest[1:], c)
			text.WriteString(rest[:end+2])
			i += end + 1
			continue
		}
		if blank && c > ' ' {
			begin = line
		}
		text.WriteByte(c)
		switch c {
		case '\n':
			line++
		case '{', '(', '[':
			depth++
		case '}', ')', ']':
			depth--
			head := strings.TrimSpace(text.String())
			if c == '}' && depth == 0 && regexp.MustCompile(`^(export )?(declare |abstract )*(class|interface)\s`).MatchString(head) {
				flush()
			}
		case ';':
			if depth == 0 {
				flush()
			}
		}
	}
	flush()
	return all
}

// commentOf is the text of a comment without its stars.
func commentOf(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "*")))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// TestDescribe describes declarations of every kind.
func TestDescribe(t *testing.T) {
	source := `/**
 * About the file.
 * @packageDocumentation
 */
export as namespace xmpp;

/** A | or B. */
export type Mode =
  | "a"   // first
  | "b";

// ------- classes

/**
 * A base.
 *
 * With a second paragraph.
 */
export interface Base { tags?: Record<string, string>; }

/** Does; things: {x}. */
export class Client extends Base {
  private constructor();
  constructor(options: Options);
  /** Whether it is. */
  readonly connected: boolean;
  on<E extends keyof Events>(
    event: E, listener: (a: string | number) => void
  ): this;
  /** Its options. */
  inner: { a: number; b: string };
}

interface Empty extends Base, Omit<Client, "on" | "off"> {}

/** Calls. */
export function connect(options: { a: string; b?: number }): Promise<Client>;
`
	want := "## `Mode`\n\nA | or B.\n\n```ts\ntype Mode =\n  | \"a\"   \n  | \"b\";\n```\n\n" +
		"## `Base`\n\nA base.\n\nWith a second paragraph.\n\n| member | |\n| --- | --- |\n| `tags?: Record<string, string>` |  |\n\n" +
		"## `Client`\n\nDoes; things: {x}.\n\nExtends `Base`.\n\n| member | |\n| --- | --- |\n| `constructor(options: Options)` |  |\n" +
		"| `readonly connected: boolean` | Whether it is. |\n| `on<E extends keyof Events>( event: E, listener: (a: string \\| number) => void ): this` |  |\n" +
		"| `inner: { a: number; b: string }` | Its options. |\n\n" +
		"## `Empty`\n\nExtends `Base, Omit<Client, \"on\" | \"off\">`.\n\n" +
		"## `connect()`\n\nCalls.\n\n```ts\nfunction connect(options: { a: string; b?: number }): Promise<Client>;\n```\n"
	got, err := describe(source)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"class Hidden {}", "export interface Open { a: 1;", "export enum Colour { red }", "export default 5;"} {
		if _, err := describe(bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
