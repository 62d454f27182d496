package app

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3"
)

func newStoreCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "store",
		GroupID: groupStore,
		Short:   "Look at an object store",
		Long: `The commands below look at an S3-compatible object store. They need no configuration,
and no server of imgkeep.`,
	}
	cmd.AddCommand(newStoreCheckCommand(a))
	return cmd
}

func newStoreCheckCommand(a *app) *cobra.Command {
	x := &storeCheckCommand{app: a}
	cmd := &cobra.Command{
		Use:   "check --endpoint URL --bucket NAME",
		Short: "Check whether several nodes can share an object store",
		Long: `Check tests whether an object store does what several nodes rely on: eight writers race
for the same objects, and it tries conditions (If-None-Match, If-Match), reading right
after writing, replacing and removing, and checksums. It prints a table of what works.

In each round it writes 40 small objects below "probe/" of the prefix, and removes them
again. More --rounds find what fails only sometimes. Several --endpoint are ways to the
same store, such as its gateways; it uses them in turn.

It takes the keys from the files, or else from AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY in the environment.

Exit status: 0 if all holds; 1 if something does not, or could not be tried.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              x.run,
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&x.endpoints, "endpoint", nil, "`URL` of the store; may be given several times")
	flags.StringVar(&x.o.Bucket, "bucket", "", "`NAME` of the bucket, which must exist")
	flags.StringVar(&x.o.Prefix, "prefix", "", "`TEXT` before the names of objects, with a slash at its end")
	flags.StringVar(&x.o.Region, "region", "", "`NAME` of the region (default us-east-1)")
	flags.BoolVar(&x.o.PathStyle, "path-style", false, "name the bucket in the path instead of the host")
	flags.StringVar(&x.o.AccessKeyFile, "access-key-file", "", "`FILE` with the access key")
	flags.StringVar(&x.o.SecretKeyFile, "secret-key-file", "", "`FILE` with the secret key")
	flags.StringVar(&x.caFile, "ca-file", "", "`FILE` with the certificates (PEM) that vouch for the store, instead of the system's")
	flags.IntVar(&x.rounds, "rounds", 20, "how often each check is tried with five objects: `N` from 1 to 1000")
	must(cmd.MarkFlagRequired("endpoint"))
	must(cmd.MarkFlagRequired("bucket"))
	return cmd
}

type storeCheckCommand struct {
	app       *app
	endpoints []string
	caFile    string
	rounds    int
	o         s3.Options
}

func (x *storeCheckCommand) run(cmd *cobra.Command, _ []string) error {
	if x.rounds < 1 || x.rounds > 1000 {
		return usagef("--rounds: %d: want 1 to 1000", x.rounds)
	}
	if x.caFile != "" {
		pem, err := os.ReadFile(x.caFile)
		if err != nil {
			return usageError(err)
		}
		x.o.CAs = x509.NewCertPool()
		if !x.o.CAs.AppendCertsFromPEM(pem) {
			return usagef("--ca-file: %s holds no certificate in PEM", x.caFile)
		}
	}
	var stores []object.Store
	for _, endpoint := range x.endpoints {
		o := x.o
		o.Endpoint = endpoint
		c, err := s3.New(o)
		if err != nil {
			return usageError(err)
		}
		stores = append(stores, c)
	}
	report := object.Probe(cmd.Context(), x.rounds, stores...)
	for _, c := range report {
		result, problem := "ok", ""
		if c.Problem != "" {
			result, problem = "FAIL", ": "+c.Problem
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-4s  %5d times  %8s  %s%s\n", result, c.Tried, c.Took.Round(time.Millisecond), c.Name, problem); err != nil {
			return err
		}
	}
	if report.Err() != nil {
		return errors.New("several nodes cannot share this object store")
	}
	return nil
}
