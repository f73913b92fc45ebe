package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// maxTextBytes bounds a file that holds rules or names.
const maxTextBytes = 64 << 20

func newParse(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "parse [FILE]", Short: "Print rules in canonical form, or say where they are wrong",
		Long: "Reads a dtab (dentries separated by ;) from the file, or from standard input, and prints it in canonical form.\n" +
			"A mistake is told with line and column, and the exit code is 1.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := "-"
			if len(args) == 1 {
				name = args[0]
			}
			text, err := o.read(name)
			if err != nil {
				return err
			}
			d, err := dtab.Parse(string(text))
			if err != nil {
				return at(name, err)
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
}

// at returns the error of a parser with the place in a file.
func at(name string, err error) error {
	var e *dtab.Error
	if !errors.As(err, &e) {
		return err
	}
	if name == "-" {
		name = "standard input"
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
		defer f.Close()
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
