package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// standardInput is what errors call the file "-".
const standardInput = "standard input"

// maxTextBytes bounds a file that holds rules or names.
const maxTextBytes = 64 << 20

func newParse(o *options) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "parse [FILE | DTAB | -f FILE]", Short: "Print rules in canonical form, or say where they are wrong",
		Long: "Reads a dtab (dentries separated by ;) from the file, from the argument itself where it has a =>, or from standard\n" +
			"input, and prints it in canonical form. A mistake is told with line and column, and the exit code is 1.",
		Example: "  fairlead dtab parse -f rules.dtab\n  fairlead dtab parse '/svc => /host'\n  echo '/svc => /host' | fairlead dtab parse",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if file != "" && len(args) > 0 {
				return errors.New("expected FILE or --filename, found both")
			}
			name, text, err := o.rulesText(cmp.Or(strings.Join(args, ""), file, "-"))
			if err != nil {
				return err
			}
			d, err := dtab.Parse(string(text))
			if err != nil {
				return notDtab(text, at(name, err))
			}
			if o.output == "json" {
				return o.writeJSON(app.Rules(d))
			}
			for _, e := range d {
				fmt.Fprintf(o.Out, "%s => %s ;\n", e.Prefix, e.Dst)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&file, "filename", "f", "", "file with a dtab, - for standard input")
	return c
}

// rulesText returns the text of an argument: that of a file, or itself where it is rules. name is what errors call it.
func (o *options) rulesText(argument string) (name string, text []byte, err error) {
	text, err = o.read(argument)
	if errors.Is(err, fs.ErrNotExist) && strings.Contains(argument, "=>") {
		return "dtab", []byte(argument), nil
	}
	return argument, text, err
}

// notDtab adds a hint where the text is of objects, as the files of the other commands are.
func notDtab(text []byte, err error) error {
	if !bytes.Contains(text, []byte("apiVersion:")) {
		return err
	}
	return &failure{code: exitFailure, err: err, hint: "Mesh and Dtab documents are checked by fairlead dtab lint -f FILE"}
}

// at returns the error of a parser with the place in a file.
func at(name string, err error) error {
	var e *dtab.Error
	if !errors.As(err, &e) {
		return err
	}
	if name == "-" {
		name = standardInput
	}
	line, column := e.Position()
	return fmt.Errorf("%s:%d:%d: %s", name, line, column, e.Detail())
}

// read returns a file, or standard input for "-".
func (o *options) read(name string) ([]byte, error) {
	in := o.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // only read
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxTextBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxTextBytes {
		return nil, fmt.Errorf("%s: expected at most %d bytes", name, maxTextBytes)
	}
	return data, nil
}
