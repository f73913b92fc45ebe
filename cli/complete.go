package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/proxy/dtab/lint"
)

// completes has a shell complete the value of a flag. That there is such a flag is for the tests to see.
func completes(c *cobra.Command, flag string, by cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, by); err != nil {
		panic(err)
	}
}

// only completes one of the words, and no file.
func only(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// completeIgnored completes the last of a list of codes, each of which may be that of the rules of the Mesh alone.
func completeIgnored(_ *cobra.Command, _ []string, given string) ([]cobra.Completion, cobra.ShellCompDirective) {
	before, last := "", given
	if i := strings.LastIndexByte(given, ','); i >= 0 {
		before, last = given[:i+1], given[i+1:]
	}
	var out []cobra.Completion
	for _, code := range lint.Codes() {
		for _, entry := range []string{code, code + ":" + meshObject} {
			if strings.HasPrefix(entry, last) && (entry == code || strings.HasPrefix(last, code)) {
				out = append(out, before+entry)
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
