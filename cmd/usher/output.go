package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// print writes one JSON document with --json, and otherwise what people does.
func (p *program) print(document any, people func(w io.Writer) error) error {
	if p.globals.JSON {
		e := json.NewEncoder(p.stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(document)
	}
	return people(p.stdout)
}

// tell writes a line for people to standard error. There is nowhere to say that it failed.
func (p *program) tell(format string, args ...any) {
	_, _ = fmt.Fprintf(p.stderr, format+"\n", args...)
}

// grid writes rows in columns. Control characters are dropped from the cells: names are chosen by users, and a terminal
// obeys what it is shown.
func grid(w io.Writer, header []string, rows [][]string) error {
	var b strings.Builder
	b.WriteString(strings.Join(header, "\t") + "\n")
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		b.WriteString(strings.TrimRight(strings.Join(cells, "\t"), "\t") + "\n")
	}
	return align(w, b.String())
}

// listing writes the rows of a list, and says when there are more, and which flags show them.
func listing(w io.Writer, header []string, rows [][]string, more bool, flags string) error {
	if err := grid(w, header, rows); err != nil || !more {
		return err
	}
	_, err := fmt.Fprintf(w, "There are more: use %s.\n", flags)
	return err
}

// cut keeps the first limit of a list that was read one longer, and tells whether there were more.
func cut[T any](all []T, limit int) ([]T, bool) {
	if len(all) > limit {
		return all[:limit], true
	}
	return all, false
}

// details writes pairs of a name and a value, one a line, and leaves out those without a value.
func details(w io.Writer, pairs ...string) error {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b.WriteString(pairs[i] + ":\t" + printable(pairs[i+1]) + "\n")
		}
	}
	return align(w, b.String())
}

// align writes lines with tabs in columns.
func align(w io.Writer, lines string) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if _, err := io.WriteString(t, lines); err != nil {
		return err
	}
	return t.Flush()
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, s)
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// confirm asks before something that cannot be undone. Without a terminal, only --yes is an answer.
func (p *program) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(p.stdin) {
		return usageError("this cannot be undone: repeat the command with --yes")
	}
	p.tell("%s Type yes to go on:", question)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// isTerminal reports whether somebody can type there. The null device is a character device too.
func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && !os.SameFile(info, null)
}
