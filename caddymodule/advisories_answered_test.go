package caddymodule_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// advisoryRows are the rows that must be answered: what concerns approvals,
// headers, paths, other sites, and sessions.
func advisoryRows() (rows []int) {
	for _, section := range [][2]int{{1, 11}, {24, 40}, {41, 55}, {56, 62}, {63, 75}} {
		for row := section[0]; row <= section[1]; row++ {
			rows = append(rows, row)
		}
	}
	return rows
}

var (
	advisoryLine = regexp.MustCompile(`(?m)^\| ([0-9, ]+) \| [^|]+ \| ([^|]+) \|$`)
	citedTest    = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z_0-9]+)(/[^`]+)?`")
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z_0-9]+)\(`)
)

// TestAdvisories_areAllAnswered checks that each row is attacked here, or that
// docs/security.md says why it cannot occur.
func TestAdvisories_areAllAnswered(t *testing.T) {
	document, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	attacked := make(map[int]string)
	for _, a := range slices.Concat(advisories, advisoriesAlone) {
		for _, row := range a.rows {
			if attacked[row] != "" {
				t.Errorf("row %d has two tests", row)
			}
			attacked[row] = "TestAdvisories/" + a.name()
		}
	}
	answered := make(map[int]bool)
	for _, line := range advisoryLine.FindAllStringSubmatch(string(document), -1) {
		for number := range strings.SplitSeq(line[1], ", ") {
			row, err := strconv.Atoi(number)
			switch {
			case err != nil:
				t.Fatal(err)
			case answered[row]:
				t.Errorf("docs/security.md answers row %d twice", row)
			case attacked[row] != "" && !strings.Contains(line[2], "`"+attacked[row]+"`"):
				t.Errorf("docs/security.md does not name %s in row %d", attacked[row], row)
			case attacked[row] == "" && len(line[2]) < 40:
				t.Errorf("docs/security.md does not say why row %d cannot occur", row)
			}
			answered[row] = true
		}
	}
	for _, row := range advisoryRows() {
		if !answered[row] {
			t.Errorf("docs/security.md does not answer row %d", row)
		}
	}
	for row, name := range attacked {
		if !answered[row] {
			t.Errorf("docs/security.md does not answer row %d, which %s tests", row, name)
		}
	}
}

// TestSecurityDocument_namesTestsThatExist checks what docs/security.md cites.
func TestSecurityDocument_namesTestsThatExist(t *testing.T) {
	document, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	functions := make(map[string]bool)
	err = filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, found := range testFunction.FindAllStringSubmatch(string(source), -1) {
			functions[found[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	attacks := make(map[string]bool)
	for _, a := range slices.Concat(advisories, advisoriesAlone) {
		attacks["/"+a.name()] = true
	}
	cited := citedTest.FindAllStringSubmatch(string(document), -1)
	if len(cited) < 50 {
		t.Fatalf("docs/security.md cites %d tests", len(cited))
	}
	for _, c := range cited {
		if !functions[c[1]] {
			t.Errorf("docs/security.md cites %s, which does not exist", c[1])
		}
		if c[2] != "" && !attacks[c[2]] {
			t.Errorf("docs/security.md cites %s%s, which does not exist", c[1], c[2])
		}
	}
}
