function __sealstream_contexts
	sealstream context list --names 2>/dev/null
end
complete -c sealstream -n "__fish_sealstream_using_subcommand context; and __fish_seen_subcommand_from use show remove" -f -a "(__sealstream_contexts)"
